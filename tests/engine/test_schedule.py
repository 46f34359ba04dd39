"""A step's tokens: who decodes is in every step, prompts take turns by age, and nobody waits for ever."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringroad.actors.engine.engine import Engine, Work
from ringroad.actors.engine.pool import BLOCK
from ringroad.actors.engine.schedule import FEWEST, Schedule, Step, shares
from ringroad.actors.messages import Sampling
from ringroad.kernels.linear import Weights
from tests.engine.tiny import SHAPE, prompt, tiny

BLOCK_PLACES = SHAPE.layers * 2 * SHAPE.kv_heads * BLOCK * SHAPE.head_dim  # numbers a block


@given(
    lacks=st.lists(st.integers(FEWEST + 1, 600), max_size=12),
    left=st.integers(-100, 300),
    chunk=st.integers(FEWEST, 300),
)
def test_shares(lacks: list[int], left: int, chunk: int) -> None:
    given = shares(lacks, left, chunk)
    assert len(given) == len(lacks)
    assert all(0 <= share <= min(lack, chunk) for share, lack in zip(given, lacks, strict=True))
    assert sum(given) <= max(left, FEWEST)
    assert given[:1] == [max(FEWEST, min(lacks[0], chunk, left))] if lacks else not given
    reading = [share for share in given if share]
    assert given[: len(reading)] == reading, "one was overtaken"
    spare = left - sum(given)
    for i, share in enumerate(given):  # who gets less than it could has left too little for anybody
        assert share == min(lacks[i], chunk) or spare < FEWEST


class Script:
    """Sessions on one engine, step by step."""

    def __init__(
        self, chunk: int = 256, tokens: int = 256, blocks: int = 200, kind: Weights = "fp32"
    ) -> None:
        model = tiny(kind)
        self.engine = Engine(model, cache_bytes=blocks * BLOCK_PLACES * model.dtype.itemsize)
        self.schedule = Schedule(self.engine, chunk, tokens)
        self.texts: dict[str, list[int]] = {}
        self.asked: dict[str, None] = {}
        self.said: dict[str, list[int]] = {}

    def ask(self, session: str, *text: int) -> None:
        """A question about a session's text, longer by these tokens."""
        if session not in self.engine:
            self.engine.open(session, Sampling())
        self.texts.setdefault(session, []).extend(text)
        self.asked[session] = None

    def step(self) -> Step:
        """One step; whoever's text is read is answered."""
        step = self.schedule.plan(
            {session: self.texts[session] for session in self.asked},
            [session for session in self.texts if session not in self.asked],
            lambda session: Work(session, self.texts[session][self.engine.length(session) :]),
        )
        outcomes = self.engine.step(step.works) if step.works else []
        for work, outcome in zip(step.works, outcomes, strict=True):
            assert work.answers == (self.engine.length(work.session) == len(self.texts[work.session]))
            if work.answers:
                del self.asked[work.session]
                self.said.setdefault(work.session, []).extend(outcome.tokens)
        for session in step.refused:
            self.engine.close(session)
            del self.asked[session], self.texts[session]
        return step


def sizes(step: Step) -> dict[str, int]:
    return {work.session: len(work.tokens) for work in step.works}


def test_who_decodes_is_in_every_step_while_prompts_arrive() -> None:
    script = Script()
    for name in "de":
        script.ask(name, *prompt(20, ord(name)))
    script.step()
    for i in range(12):
        script.ask(f"prompt-{i}", *prompt(300, i))
        script.ask("d", 5)
        script.ask("e", *prompt(8, i))
        step = sizes(script.step())
        assert (step["d"], step["e"]) == (1, 8)
        assert sum(step.values()) <= 256
        assert "d" not in script.asked


def test_prompts_are_read_by_age_as_far_as_the_step_reaches() -> None:
    script = Script(chunk=100, tokens=256)
    for i, length in enumerate([150, 30, 500, 80]):
        script.ask(str(i), *prompt(length, i))
    assert sizes(script.step()) == {"0": 100, "1": 30, "2": 100, "3": 26}
    assert sizes(script.step()) == {"0": 50, "2": 100, "3": 54}
    assert sizes(script.step()) == {"2": 100}


@pytest.mark.parametrize("decoding", [3, 20, 40])
def test_the_oldest_prompt_gets_on_however_many_decode(decoding: int) -> None:
    script = Script(tokens=32)
    for i in range(decoding):
        script.ask(f"d{i}", i)
    script.step()
    for i in range(3):
        script.ask(f"p{i}", *prompt(64, 50 + i))
    finished = []
    for _ in range(15):
        for i in range(decoding):
            script.ask(f"d{i}", 7)
        step = script.step()
        assert len([work for work in step.works if work.session[0] == "d"]) == decoding
        assert (
            sum(len(work.tokens) for work in step.works if work.session[0] == "p") >= FEWEST or finished[2:]
        )
        finished += [work.session for work in step.works if work.session[0] == "p" and work.answers]
    assert finished == ["p0", "p1", "p2"]


def test_prompts_that_begin_alike_are_read_once() -> None:
    script = Script(tokens=256)
    common = prompt(512)
    for i in range(6):
        script.ask(str(i), *common, i, *prompt(20, i))
    read = 0
    while script.asked:
        read += sum(sizes(script.step()).values())
    assert read == 512 + 6 * 21
    assert script.schedule.found_share == pytest.approx(5 * 512 / (5 * 512 + read))


@pytest.mark.parametrize("tokens", [64, 256, 10_000])
def test_prompts_that_come_together_and_are_alike_are_read_once(tokens: int) -> None:
    """Also where a step could read them all, and beside others that wait for nobody."""
    script = Script(tokens=tokens, chunk=200)
    alike, other = prompt(150), prompt(100, 7)
    for i in range(4):
        script.ask(f"alike-{i}", *alike)
        script.ask(f"other-{i}", *other, i)
    read = {}
    while script.asked:
        for session, count in sizes(script.step()).items():
            read[session] = read.get(session, 0) + count
    assert [read[f"alike-{i}"] for i in range(4)] == [150, 1, 1, 1]
    others = [read[f"other-{i}"] for i in range(4)]
    assert others[0] == 101
    assert all(1 <= count <= 101 - BLOCK for count in others[1:])


def test_who_waits_for_a_block_gives_way_to_whom_it_waits_for() -> None:
    script = Script(tokens=64, blocks=4)
    for i in range(3):
        script.ask(str(i), *prompt(3 * BLOCK + 20))
    refused: dict[str, str] = {}
    for _ in range(40):
        refused |= script.step().refused
    assert not refused
    assert not script.asked


def test_who_keeps_another_tenants_prompt_is_not_waited_for() -> None:
    script = Script(tokens=10_000)
    for i, salt in enumerate([b"a", b"b", b"a"]):
        script.engine.open(str(i), Sampling(), salt=salt)
        script.ask(str(i), *prompt(150))
    assert sizes(script.step()) == {"0": 150, "1": 150}
    assert sizes(script.step()) == {"2": 1}


def test_a_prompt_alone_too_long_for_the_cache_is_refused_and_nobody_else() -> None:
    script = Script(blocks=3)
    script.ask("long", *prompt(4 * BLOCK))
    script.ask("short", *prompt(30, 1))
    refused: dict[str, str] = {}
    for _ in range(5):
        refused |= script.step().refused
    assert list(refused) == ["long"]
    assert "192 tokens" in refused["long"]
    assert not script.asked
    assert script.engine.length("short") == 30
    assert script.engine._pool.held == 1


def test_where_room_is_scarce_all_are_answered_all_the_same() -> None:
    """Who is asked nothing gives way, then the latest; what they lost is computed again."""
    script = Script(chunk=32, tokens=64, blocks=4)
    for i in range(6):
        script.ask(str(i), *prompt(BLOCK + 20, i))
    for _ in range(3):
        steps = 0
        while script.asked:
            step = script.step()
            assert step.works
            assert not step.refused
            assert script.engine._pool.held <= 4
            steps += 1
            assert steps < 100
        for i in range(6):
            script.ask(str(i), *prompt(20, 10 + i))


def test_no_work_is_planned_with_a_cache_that_was_given_away() -> None:
    script = Script(blocks=2)
    for name in "ab":
        script.ask(name, *prompt(BLOCK - 1, ord(name)))
    script.step()
    for name in "ab":
        script.ask(name, 1, 2)  # one more block each, and there is none
    assert sizes(script.step()) == {"a": 2}
    assert script.engine.length("b") == 0
    assert sizes(script.step()) == {"b": BLOCK + 1}


def test_who_gave_way_to_one_who_is_refused_reads_its_text_again_piece_by_piece() -> None:
    script = Script(chunk=32, blocks=3)
    for name in "ab":
        script.ask(name, *prompt(60, ord(name)))
    while script.asked:
        script.step()

    def question(session: str) -> Work:
        guesses = [3] * 200 if session == "a" else []
        return Work(session, [*script.texts[session][script.engine.length(session) :], *guesses])

    texts = {name: [*script.texts[name], 1] for name in "ab"}
    step = script.schedule.plan(texts, [], question)
    assert (step.works, list(step.refused)) == ([], ["a"])
    assert sizes(script.schedule.plan({"b": texts["b"]}, [], question)) == {"b": 32}


@pytest.mark.parametrize("kind", ["fp32", "bf16"])
def test_what_is_said_does_not_depend_on_the_room(kind: Weights) -> None:
    """Given away and computed again, a session goes on as if nothing had happened."""
    said = []
    for blocks in (3, 100):
        script = Script(chunk=32, tokens=64, blocks=blocks, kind=kind)
        for turn in range(5):
            for name in "abc":
                script.ask(name, *(script.said[name][-1:] if turn else prompt(BLOCK - 2, ord(name))))
            while script.asked:
                script.step()
        said.append(script.said)
    assert said[0] == said[1]
    assert all(len(tokens) == 5 for tokens in said[0].values())
