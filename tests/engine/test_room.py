"""The cache is bounded: who makes room, the oldest first, and what a block holds that is used again."""

import ctypes
import math

import pytest
import torch

from ringroad.actors.engine.cache import Cache
from ringroad.actors.engine.engine import Work
from ringroad.actors.engine.pool import BLOCK, Pool
from ringroad.actors.errors import CacheFull
from tests.engine.prefixes import FP32_BLOCK, TEXT, WARM, kept, opened, read
from tests.engine.tiny import SHAPE, prompt


def test_the_longest_unused_prefix_makes_room_first() -> None:
    engine = opened(blocks=5)
    texts = [prompt(BLOCK, seed) for seed in range(3)]
    for text in texts[:2]:
        read(engine, "s", text)
        engine.close("s")
    assert (engine.idle_tokens, engine.cached_tokens) == (2 * BLOCK, 0)
    assert read(engine, "s", texts[0]) == BLOCK - 1
    engine.close("s")
    engine.open("large", WARM)
    engine.step([Work("large", prompt(4 * BLOCK, 9))])  # five blocks, one of them idle
    engine.truncate("large", 0)
    assert read(engine, "s", texts[0]) == BLOCK - 1
    assert read(engine, "t", texts[1]) == 0


def test_of_a_prefix_its_end_makes_room_first() -> None:
    engine = opened(blocks=4)
    read(engine, "s", TEXT[: 3 * BLOCK])
    engine.close("s")
    read(engine, "other", prompt(2 * BLOCK, 9))
    engine.open("s", WARM)
    assert engine.adopt("s", TEXT) == 2 * BLOCK


def test_a_full_cache_is_an_error_that_changes_nothing() -> None:
    engine = opened("a", "b", blocks=3)
    engine.step([Work("a", TEXT[: BLOCK + 1])])
    with pytest.raises(CacheFull, match="192 tokens"):
        engine.step([Work("b", TEXT[-BLOCK - 1 :])])
    assert (engine.length("a"), engine.length("b"), engine._pool.held) == (BLOCK + 1, 0, 2)
    fresh = opened("a")
    fresh.step([Work("a", TEXT[: BLOCK + 1])])
    assert engine.step([Work("a", [1])]) == fresh.step([Work("a", [1])])
    engine.close("a")
    engine.step([Work("b", TEXT[-BLOCK - 1 :])])


def test_who_gives_way_loses_its_cache_and_no_more_do_than_must() -> None:
    engine = opened("a", "b", "c", "d", blocks=3)
    for session in "bcd":
        engine.step([Work(session, prompt(5, ord(session)))])
    engine.reserve(Work("a", [0] * 2 * BLOCK), givers=iter("dcb"))
    assert [engine.length(session) for session in "bcd"] == [5, 0, 0]
    with pytest.raises(CacheFull):
        engine.reserve(Work("a", [0] * 4 * BLOCK), givers=iter("b"))
    assert engine.length("b") == 0


def test_a_block_taken_again_holds_zeros() -> None:
    """Attention multiplies what it masks by zero, and a NaN would stay one."""
    pool = Pool(SHAPE, torch.float32, torch.device("cpu"), FP32_BLOCK)
    for _ in range(2):
        block = pool.take()
        assert not pool.data[block].any()
        pool.data[block] = math.nan
        pool.drop(block)


def test_the_table_says_where_the_blocks_lie() -> None:
    engine = opened("b")
    text = TEXT[: 2 * BLOCK]
    read(engine, "a", text)
    assert engine.adopt("b", text) == 2 * BLOCK - 1
    a, b = (engine._sessions[session].cache for session in "ab")
    assert torch.equal(a.table(), b.table())
    engine.step([Work("b", text[-1:])])
    assert torch.equal(a.table(), b.table())  # the copy it wrote to was the known block once more
    engine.step([Work("b", [9])])
    assert b.table().shape == (3,)
    assert b.table().dtype == torch.int64
    engine.truncate("b", BLOCK + 1)
    engine.step([Work("b", [9])])
    assert a.table()[0] == b.table()[0]
    assert a.table()[1] != b.table()[1]
    assert read_memory(b) == kept(engine, "b").flatten().tolist()


def read_memory(cache: Cache) -> list[float]:
    """What `bits` says, by address."""
    found: list[float] = []
    for at in range(cache.length):
        for part in range(SHAPE.layers * 2 * SHAPE.kv_heads):
            offset = (part * BLOCK + at % BLOCK) * SHAPE.head_dim * 4
            address = int(cache.table()[at // BLOCK]) + offset
            found += (ctypes.c_float * SHAPE.head_dim).from_address(address)
    return found
