"""Engines whose sessions read texts that begin alike: what tests of prefixes and of room share."""

import torch

from ringroad.actors.engine.engine import Engine, Work
from ringroad.actors.engine.pool import BLOCK
from ringroad.actors.messages import Sampling
from tests.engine.tiny import SHAPE, Kind, bits, prompt, tiny

KINDS: list[Kind] = ["fp32", "bf16", "int4", "paged"]
WARM = Sampling(seed=3, temperature=1.0)
TEXT = prompt(3 * BLOCK + 20)
A, B = b"a" * 16, b"b" * 16  # salts
FP32_BLOCK = SHAPE.layers * 2 * SHAPE.kv_heads * BLOCK * SHAPE.head_dim * 4  # bytes


def opened(*sessions: str, kind: Kind = "fp32", blocks: int = 100) -> Engine:
    engine = Engine(tiny(kind), cache_bytes=blocks * FP32_BLOCK)
    for session in sessions:
        engine.open(session, WARM)
    return engine


def read(engine: Engine, session: str, text: list[int], salt: bytes = b"") -> int:
    """A session that keeps `text` with what is known of it from the cache; returns how much that is."""
    engine.open(session, WARM, salt=salt)
    found = engine.adopt(session, text)
    engine.step([Work(session, text[found:])])
    return found


def kept(engine: Engine, session: str) -> torch.Tensor:
    return bits(engine._sessions[session].cache)
