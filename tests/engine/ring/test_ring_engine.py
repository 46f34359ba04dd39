"""An engine on a ring says what one engine says, and all its ranks keep the same books."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ringroad.actors.engine.engine import Engine, Work
from ringroad.actors.engine.pool import BLOCK
from ringroad.actors.engine.ring.engine import FirstEngine
from ringroad.actors.engine.ring.model import RingModel
from ringroad.actors.engine.ring.shards import Pools, Shards
from ringroad.actors.errors import CacheFull
from ringroad.actors.messages import Consult, Open, Sampling, Welcome
from ringroad.actors.verifier.verifier import Verifier
from ringroad.kernels.ring.communicator import RingBroken
from tests.engine.ring.gangs import Ring, ring
from tests.engine.tiny import Kind, prompt, tiny

WARM = Sampling(temperature=0.8, seed=7)
LONG = 4 * BLOCK + 21


def said(engine: Engine, text: list[int], count: int, chunk: int = 100, name: str = "a") -> list[int]:
    """The text that an engine goes on with, read in pieces."""
    engine.open(name, WARM, len(text) + count)
    at = engine.adopt(name, text)
    while len(text) - at > chunk:
        engine.step([Work(name, text[at : at + chunk], answers=0)])
        at += chunk
    new, found = text[at:], []
    for _ in range(count):
        (outcome,) = engine.step([Work(name, new)])
        new = outcome.tokens
        found += new
    return found


def books(engine: Engine) -> list[object]:
    """What all ranks of a ring must agree on."""
    found: list[object] = []
    for name, held in engine._sessions.items():
        assert isinstance(held.cache, Shards)
        found.append((name, held.cache.length, [part._blocks for part in held.cache.parts]))
        found.append([part.length for part in held.cache.parts])
        found.append(held.prefix.tokens)
    assert isinstance(engine._pool, Pools)
    found.append([(pool.held, pool.idle, sorted(pool._known.values())) for pool in engine._pool.each])
    return found


def agree(found: Ring) -> None:
    """When all ranks are done; that the last step stands, the others learn with the next."""
    for other in found.others:
        other.stand()
        assert books(other) == books(found.first)


@pytest.mark.parametrize("ranks", [1, 2, 3, 4])
@pytest.mark.parametrize("schedule", ["pass_q", "pass_kv", "token_ring", "auto"])
def test_a_ring_says_what_one_rank_says(ranks: int, schedule: str) -> None:
    expected = said(Engine(tiny()), prompt(LONG), 70)
    with ring(tiny(), ranks, schedule=schedule) as found:
        assert said(found.first, prompt(LONG), 70) == expected
    agree(found)


@pytest.mark.parametrize("schedule", ["pass_q", "pass_kv", "token_ring"])
def test_a_ring_of_devices_says_what_one_rank_says(schedule: str) -> None:
    """With the kernels' twins."""
    expected = said(Engine(tiny()), prompt(LONG), 10)
    with ring(tiny("paged"), 3, schedule=schedule) as found:
        assert said(found.first, prompt(LONG), 10) == expected
    agree(found)


@pytest.mark.parametrize("kind", ["fp32", "torch-bf16", "paged"])
def test_neither_schedule_nor_pieces_nor_company_change_a_bit(kind: Kind) -> None:
    seen: list[torch.Tensor] = []
    for schedule, chunk, company in (("pass_q", 70, 0), ("token_ring", 300, 0), ("pass_kv", 130, 3)):
        with ring(tiny(kind), 2, schedule=schedule) as found:
            engine, text = found.first, prompt(300)
            for name in ("a", *map(str, range(company))):
                engine.open(name, WARM, 400)
            for at in range(0, len(text), chunk):
                beside = [Work(str(i), prompt(5, i), answers=0) for i in range(company)]
                works = [*beside, Work("a", text[at : at + chunk], answers=0)]
                engine.step(works)
            (outcome,) = engine.step([Work("a", [3], features=True, sights=True)])
            assert outcome.sights is not None
            seen.append(outcome.sights.hidden)
    assert torch.equal(seen[0], seen[1])
    assert torch.equal(seen[0], seen[2])


def test_a_short_text_stays_on_one_rank_and_nothing_of_it_travels() -> None:
    with ring(tiny(), 2, min_tokens=200) as found:
        said(found.first, prompt(90), 20)
        (held,) = found.first._sessions.values()
        assert isinstance(held.cache, Shards)
        assert [part.length for part in held.cache.parts] == [109, 0]
        assert not any(end.bytes for end in found.sent)


@pytest.mark.parametrize("kind", ["fp32", "bf16"])
def test_a_short_text_has_the_bits_of_one_engine_beside_a_long_one(kind: Kind) -> None:
    seen: list[torch.Tensor] = []
    with ring(tiny(kind), 2, min_tokens=200) as found:
        found.first.open("long", WARM, 400)
        for engine in (found.first, Engine(tiny(kind))):
            engine.open("short", WARM, 90)
            works = [Work("short", prompt(70), features=True, sights=True)]
            if engine is found.first:
                works.insert(0, Work("long", prompt(230), answers=0))
            sight = engine.step(works)[-1].sights
            assert sight is not None
            seen.append(sight.hidden)
    assert torch.equal(*seen)


def test_short_texts_are_dealt_out_whole() -> None:
    with ring(tiny(), 2, min_tokens=200) as found:
        for name in "abcd":
            found.first.open(name, WARM, 100)
        found.first.step([Work(name, prompt(90, ord(name))) for name in "abcd"])
        pools = found.first._pool
        assert isinstance(pools, Pools)
        assert [pool.held for pool in pools.each] == [4, 4]


def test_a_text_on_another_rank_does_not_give_way_in_vain() -> None:
    block = 2 * 2 * 2 * BLOCK * 32 * 4
    with ring(tiny(), 2, min_tokens=1000, cache_bytes=3 * block) as found:
        for name in "abc":  # on ranks 0, 1 and 0
            found.first.open(name, WARM, 2 * BLOCK)
        found.first.step([Work(name, prompt(2 * BLOCK), answers=0) for name in "ab"])
        found.first.reserve(Work("c", prompt(2 * BLOCK)), ["b", "a"])
        assert (found.first.length("a"), found.first.length("b")) == (0, 2 * BLOCK)


def test_a_text_of_unknown_length_is_shared() -> None:
    with ring(tiny(), 2, min_tokens=200) as found:
        found.first.open("a", WARM)
        found.first.open("b", WARM, 199)
        kept = [found.first._sessions[name].cache for name in "ab"]
        assert [isinstance(each, Shards) and each.holder for each in kept] == [None, 0]


def test_a_step_whose_answer_fails_is_kept_nowhere_and_the_ring_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*args: object) -> None:
        raise ValueError("in an answer")

    with ring(tiny(), 2) as found:
        said(found.first, prompt(100), 4, name="a")
        found.first.open("b", WARM, 400)
        with monkeypatch.context() as patch:
            patch.setattr(FirstEngine, "_answer", fail)
            with pytest.raises(ValueError, match="in an answer"):
                found.first.step([Work("b", prompt(2 * BLOCK))])
        assert found.first.length("b") == 0
        assert said(found.first, prompt(150, 5), 8, name="b") == said(Engine(tiny()), prompt(150, 5), 8)
        found.first.step([Work("b", [1], answers=0)])
    agree(found)


def test_whatever_changes_an_engine_is_told() -> None:
    reads = {"length", "whole", "longest", "awaited", "cached_tokens", "idle_tokens", "held_tokens"}
    acts = {name for name in vars(Engine) if not name.startswith("_")} - reads
    assert acts == {name for name in vars(FirstEngine) if not name.startswith("_")}


def test_each_rank_keeps_its_share() -> None:
    with ring(tiny(), 4) as found:
        said(found.first, prompt(1000), 8)
        (held,) = found.first._sessions.values()
        assert isinstance(held.cache, Shards)
        counts = [part.length for part in held.cache.parts]
        assert sum(counts) == 1007
        assert max(counts) <= 1007 / 4 + BLOCK
    agree(found)


def test_a_text_that_begins_alike_finds_what_all_ranks_have() -> None:
    with ring(tiny(), 2) as found:
        first = said(found.first, prompt(LONG), 10, name="a")
        found.first.open("b", WARM, LONG + 10)
        assert found.first.adopt("b", prompt(LONG)) == 4 * BLOCK
        assert said(found.first, prompt(LONG), 10, name="b") == first
        assert said(found.first, prompt(LONG)[: 3 * BLOCK] + prompt(40, 9), 10, name="c") == said(
            Engine(tiny()), prompt(LONG)[: 3 * BLOCK] + prompt(40, 9), 10
        )
    agree(found)


def test_what_one_rank_computed_alone_is_not_taken_for_a_rings() -> None:
    with ring(tiny(), 2, min_tokens=300) as found:
        said(found.first, prompt(LONG), 4, name="alone")
        found.first.open("long", WARM, 400)
        assert found.first.adopt("long", prompt(LONG)) == 0


def test_a_full_cache_is_full_at_all_ranks_and_the_ring_goes_on() -> None:
    block = 2 * 2 * 2 * BLOCK * 32 * 4
    with ring(tiny(), 2, cache_bytes=3 * block) as found:
        said(found.first, prompt(4 * BLOCK), 2, name="a")
        found.first.open("b", WARM, 400)
        with pytest.raises(CacheFull):
            found.first.step([Work("b", prompt(2 * BLOCK), answers=0)])
        found.first.reserve(Work("b", prompt(2 * BLOCK)), ["a"])
        assert found.first.length("a") == 0
        expected = said(Engine(tiny()), prompt(2 * BLOCK, 5), 3)
        assert said(found.first, prompt(2 * BLOCK, 5), 3, name="b") == expected
    agree(found)


@pytest.mark.parametrize("error", [RingBroken(1, "silent"), ValueError("in a pass")])
def test_a_failed_pass_breaks_the_ring_and_no_session_is_blamed(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> None:
        raise error

    monkeypatch.setattr(RingModel, "forward", fail)
    with ring(tiny(), 1) as found:
        verifier = Verifier(found.first, "toy")
        for message in (Welcome("router"), Open("a", 1, WARM, 300), Consult("a", 1, 0, prompt(30))):
            verifier.receive(message)
        for act in (verifier.step, verifier.rescue):
            with pytest.raises(RingBroken):
                act()


class Both:
    """The same life of a session in a ring and in one engine."""

    def __init__(self, found: Ring) -> None:
        self.engines = [found.first, Engine(tiny())]
        for engine in self.engines:
            engine.open("a", WARM, 1000)

    def step(self, work: Work) -> None:
        ours, theirs = (engine.step([work])[0] for engine in self.engines)
        assert ours.tokens == theirs.tokens

    def keep(self, path: list[int]) -> None:
        for engine in self.engines:
            engine.keep("a", path)

    def truncate(self, length: int) -> None:
        for engine in self.engines:
            engine.truncate("a", length)


@st.composite
def trees(draw: st.DrawFn) -> tuple[list[int], list[int]]:
    """Parents of up to 20 nodes, and a path from the root."""
    parents = [draw(st.integers(-1, node - 1)) for node in range(draw(st.integers(1, 20)))]
    at, path = draw(st.integers(0, len(parents))) - 1, []
    while at >= 0:
        path.insert(0, at)
        at = parents[at]
    return parents, path


@settings(max_examples=30, deadline=None)
@given(
    st.integers(2, 4),
    st.lists(st.one_of(st.integers(1, 150), trees(), st.floats(0.5, 1.0)), min_size=1, max_size=12),
)
def test_trees_rollbacks_and_pieces_come_to_the_same(
    ranks: int, acts: list[int | float | tuple[list[int], list[int]]]
) -> None:
    with ring(tiny(), ranks) as found:
        both = Both(found)
        for number, act in enumerate([60, *acts]):
            length = found.first.length("a")
            if isinstance(act, float):
                both.truncate(int(length * act))
            elif isinstance(act, int):
                if length + act < 1000:
                    both.step(Work("a", prompt(act, number), answers=min(act, 3)))
            else:
                parents, path = act
                both.step(Work("a", prompt(len(parents), number), parents, answers=len(parents)))
                both.keep(path)
        both.step(Work("a", [1]))  # which tells the others what came before
    agree(found)
