"""The real engine over tiny fp32 models, with their arithmetic looked up where it was done before.

A block of the cache keeps, in place of keys and values, which token each place holds and at which position.
What a row says is what a fresh engine with the real model says of the text that this row sees in the cache:
a block that was lost, kept too long or shared by mistake is another text, and so another answer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache, lru_cache
from typing import Any

import torch
from torch import Tensor

from ringroad.actors.engine.cache import Cache, Span
from ringroad.actors.engine.engine import Engine, Outcome, Passed, Work
from ringroad.actors.engine.model import Model
from ringroad.actors.engine.pool import BLOCK, Pool
from ringroad.actors.engine.tenant import Held
from ringroad.actors.engine.weights import Shape
from ringroad.actors.messages import Features, Sampling
from tests.engine.tiny import SHAPE, TinyWeights
from tests.reference import ancestors

VOCABULARY = 64
TINY = replace(
    SHAPE, layers=1, width=32, heads=2, kv_heads=1, head_dim=32, ffn=32, vocabulary=VOCABULARY, context=512
)
LARGE, SMALL = "large", "small"
SHAKEN = {LARGE: 0.0, SMALL: 0.12}  # the small one is the large one, shaken: they agree often
SUCCESSORS = 8


class Corrupt(AssertionError):
    """A cache whose places do not hold what their positions say."""


@cache
def model(name: str) -> Model:
    """The large or the small one."""
    return Model(TinyWeights(TINY, shaken=SHAKEN[name]), "fp32", threads=1)


@lru_cache(maxsize=200_000)
def said(name: str, text: tuple[int, ...], sampling: Sampling, siblings: int) -> Outcome:
    """What a fresh engine answers behind the last token of a text."""
    engine = Engine(model(name), 10**6)
    engine.open("", sampling)
    work = Work("", text, features=True, siblings=siblings, successors=SUCCESSORS)
    return engine.step([work])[0]


class Places:
    """A `Decoder` whose keys are tokens and whose values are positions, both from 1 on: 0 is a blank."""

    kernels = None

    def __init__(self, name: str) -> None:
        self.name = name
        self.shape: Shape = replace(TINY, heads=1, head_dim=1, width=1)

    def pool(self, max_bytes: int) -> Pool:
        return Pool(self.shape, torch.float32, torch.device("cpu"), max_bytes)

    def cache(self, pool: Pool, expected: int) -> Cache:
        return Cache(pool)

    def forward(self, tokens: Tensor, positions: Tensor, spans: Sequence[Span[Cache]]) -> Any:
        """Of each span its places after this pass: tokens and positions."""
        keys, values = (tokens + 1).view(-1, 1, 1).float(), (positions + 1).view(-1, 1, 1).float()
        found = []
        for at in spans:
            rows = slice(at.start, at.stop)
            written = at.cache.write(0, keys[rows], values[rows])
            end = at.cache.length + at.stop - at.start
            found.append([each[0, :end, 0].int().tolist() for each in written])
        return found

    def logits(self, hidden: Tensor, vocabulary: int | None = None) -> Tensor:
        raise NotImplementedError("answers are looked up")


class Looking(Engine):
    """An engine whose answers are looked up by the text that each row sees."""

    def __init__(self, name: str, blocks: int) -> None:
        """Room for so many blocks of the cache."""
        super().__init__(Places(name), blocks * 2 * BLOCK * 4)
        self._name = name
        self.texts: Mapping[str, Held] | None = None  # that sessions have, where all is read for them

    def _answer(self, batch: Sequence[Work], passed: Passed) -> list[Outcome]:
        return [
            self._said(work, *places) if work.answers else Outcome([])
            for work, places in zip(batch, passed.hidden, strict=True)
        ]

    def _said(self, work: Work, tokens: list[int], positions: list[int]) -> Outcome:
        before = len(tokens) - len(work.tokens)
        sampling = self._sessions[work.session].sampling
        count = len(work.tokens)
        self._check(work, tokens[:before])
        rows = [
            said(self._name, _seen(work, before, row, tokens, positions), sampling, work.siblings)
            for row in range(count - work.answers, count)
        ]
        return Outcome(
            [row.tokens[0] for row in rows],
            _together([row.features for row in rows]) if work.features else None,
            [row.siblings[0] for row in rows] if work.siblings else (),
            [row.successors[0][: work.successors] for row in rows] if work.successors else (),
        )

    def _check(self, work: Work, before: list[int]) -> None:
        text = self.texts[work.session].text if self.texts is not None else []
        if any(place != token + 1 for place, token in zip(before, text, strict=False)):
            raise Corrupt(f"{work.session}: the cache holds another text than the session has")


def _seen(work: Work, before: int, row: int, tokens: list[int], positions: list[int]) -> tuple[int, ...]:
    """The text that ends with a row, as the cache has it."""
    if work.parents is None:
        end = before + row + 1
        text, at = tokens[:end], positions[:end]
    else:
        path = [before + node for node in ancestors(work.parents, row)]
        text = tokens[:before] + [tokens[place] for place in path]
        at = positions[:before] + [positions[place] for place in path]
    if at != list(range(1, len(at) + 1)):
        raise Corrupt(f"{work.session}: the cache has positions {at}")
    return tuple(token - 1 for token in text)


def _together(seen: list[Features]) -> Features:
    columns = ([getattr(row, name)[0] for row in seen] for name in ("margin", "entropy", "top", "coin"))
    return Features(*columns)
