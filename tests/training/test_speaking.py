"""Many scripts at once, against an engine for each that steps one token at a time."""

from collections.abc import Iterator, Sequence
from functools import cache

import pytest

from ringroad.actors.engine.engine import Engine, Outcome, Work
from ringroad.actors.engine.pool import BLOCK
from ringroad.actors.messages import Sampling
from ringroad.cluster.training.speaking import CHUNK, Ask, Script, continued, play
from ringroad.kernels.head import Head
from ringroad.kernels.linear import Weights
from tests.engine.tiny import SHAPE, prompt, tiny
from tests.kernels.heads import tensors

SMALL = 0.02
HEAD = Head(tensors(SHAPE.width))


def engines(kind: Weights = "fp32", head: Head | None = None) -> list[Engine]:
    return [Engine(tiny(kind)), Engine(tiny(kind, shaken=SMALL), head=head)]


@cache
def after(text: tuple[int, ...], which: int = 0, kind: Weights = "fp32", head: Head | None = None) -> Outcome:
    """What follows a text: a fresh engine reads it token by token."""
    engine = engines(kind, head)[which]
    engine.open("s", Sampling())
    for token in text[:-1]:
        engine.step([Work("s", [token], answers=0)])
    return engine.step([Work("s", text[-1:], features=True, doubts=True)])[0]


def follows(text: Sequence[int], which: int = 0, kind: Weights = "fp32") -> int:
    return after(tuple(text), which, kind).tokens[0]


def stepped(text: Sequence[int], most: int, ends: Sequence[int] = (), kind: Weights = "fp32") -> list[int]:
    """A text's continuation, one token at a time."""
    said: list[int] = []
    while len(said) < most and not (said and said[-1] in ends):
        said.append(follows([*text, *said], kind=kind))
    return said


def asking(asks: Sequence[Ask]) -> Script[list[Outcome]]:
    """Asks whatever it was told to."""
    found: list[Outcome] = []
    for ask in asks:
        outcome = yield ask
        found += [outcome]
    return found


@pytest.mark.parametrize("kind", ["fp32", "bf16"])
def test_texts_of_different_lengths_go_on_as_alone(kind: Weights) -> None:
    prompts, most = [prompt(1 + 7 * i, i) for i in range(7)], [1 + 3 * i for i in range(7)]
    ends = range(30)
    wanted = {i: stepped(p, n, ends, kind) for i, (p, n) in enumerate(zip(prompts, most, strict=True))}
    scripts = (continued(p, ends, n) for p, n in zip(prompts, most, strict=True))
    assert dict(play(engines(kind)[:1], scripts)) == wanted
    stopped = [i for i, said in wanted.items() if said[-1] in ends and len(said) < most[i]]
    assert 0 < len(stopped) < 7, "some end by themselves, some at their most"


@pytest.mark.parametrize("width", [1, 2, 3, 6, 50])
def test_more_scripts_than_places(width: int) -> None:
    """No more at a time than there are places, and each as if alone."""
    begun, ended = 0, 0

    def counted() -> Iterator[Script[list[int]]]:
        nonlocal begun
        for i in range(11):
            begun += 1
            assert begun - ended <= width
            yield continued(prompt(3 + i, i), (), 1 + 5 * i % 7)

    found = {}
    for at, said in play(engines()[:1], counted(), width):
        ended += 1
        found[at] = said
    assert found == {i: stepped(prompt(3 + i, i), 1 + 5 * i % 7) for i in range(11)}


def test_a_script_may_fall_back_to_any_beginning() -> None:
    """Shorter, the same again, another way, and back: only what a text shares with the last is taken over."""
    base = prompt(20, 1)
    texts = [
        base,
        base,
        base[:9],
        [*base[:9], 7],
        [*base[:4], 5, 6, 7, 8],
        base[:1],
        [*base, 3],
        prompt(11, 2),
        base,
    ]
    found = dict(
        play(engines()[:1], [asking([Ask(t) for t in texts]), asking([Ask(t) for t in texts[::-1]])])
    )
    wanted = [follows(t) for t in texts]
    assert [o.tokens for o in found[0]] == [[token] for token in wanted]
    assert [o.tokens for o in found[1]] == [[token] for token in wanted[::-1]]
    assert len(set(wanted)) > 3, "there is something to get wrong"


def test_what_a_text_shares_with_the_last_is_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = 0
    step = Engine.step

    def counting(self: Engine, batch: Sequence[Work]) -> list[Outcome]:
        nonlocal rows
        rows += sum(len(work.tokens) for work in batch)
        return step(self, batch)

    monkeypatch.setattr(Engine, "step", counting)
    base = prompt(50, 3)
    texts = [base, [*base, 1, 2], base[:30], [*base[:30], 9]]
    list(play(engines()[:1], [asking([Ask(t) for t in texts])]))
    assert rows == 50 + 2 + 1 + 1


def test_what_scripts_begin_alike_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """By those that begin when others have read it: whole blocks of it."""
    rows = []
    step = Engine.step

    def counting(self: Engine, batch: Sequence[Work]) -> list[Outcome]:
        rows.append(sum(len(work.tokens) for work in batch))
        return step(self, batch)

    base = prompt(3 * BLOCK, 4)
    texts = [[*base, i, i + 1] for i in range(4)]
    with monkeypatch.context() as patch:
        patch.setattr(Engine, "step", counting)
        found = dict(play(engines()[:1], [continued(text, (), 1) for text in texts], 1))
    assert rows == [3 * BLOCK + 2, 2, 2, 2]
    assert found == {i: stepped(text, 1) for i, text in enumerate(texts)}


@pytest.mark.parametrize("head", [None, HEAD], ids=["no head", "a head"])
def test_a_script_may_ask_both_engines(head: Head | None) -> None:
    def by_turns(text: list[int], count: int) -> Script[list[Outcome]]:
        """Small, then large where the small one's coin is low; what is seen goes with the answers."""
        found: list[Outcome] = []
        while len(found) < count:
            outcome = yield Ask(text, 1, features=True)
            found.append(outcome)
            assert outcome.features is not None
            if outcome.features.coin[0] < 0.4:
                found.append((yield Ask(text, 0)))
            text = [*text, *found[-1].tokens]
        return found

    def alone(text: list[int], count: int) -> list[Outcome]:
        found: list[Outcome] = []
        while len(found) < count:
            found.append(after(tuple(text), 1, head=head))
            assert found[-1].features is not None
            if found[-1].features.coin[0] < 0.4:
                found.append(Outcome(after(tuple(text), 0).tokens))
            text = [*text, *found[-1].tokens]
        return found

    texts, counts = [prompt(2 + 5 * i, i) for i in range(5)], [3 + 4 * i for i in range(5)]
    played = dict(play(engines(head=head), map(by_turns, texts, counts), 3))
    wanted = dict(enumerate(map(alone, texts, counts)))
    assert played == wanted
    seen = [outcome.features for each in wanted.values() for outcome in each if outcome.features]
    assert {len(features.doubt) for features in seen} == {1 if head else 0}
    assert {outcome.features is None for each in wanted.values() for outcome in each} == {True, False}


@pytest.mark.parametrize("width", [1, 2, 8])
def test_scripts_that_ask_nothing_hold_nobody_up(width: int) -> None:
    """However many of them stand first."""
    texts = [None, None, None, prompt(4, 1), None, prompt(5, 2), None]
    scripts = [continued(t, (), 3) if t else asking([]) for t in texts]
    found = dict(play(engines()[:1], scripts, width))
    assert found == {i: stepped(t, 3) if t else [] for i, t in enumerate(texts)}


def test_nothing_to_play() -> None:
    assert list(play(engines(), [])) == []


def test_long_texts_are_read_bit_by_bit_and_hold_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step reads at most CHUNK tokens of texts not read yet, beside one token of every other script."""
    steps: list[list[int]] = []
    step = Engine.step

    def watched(self: Engine, batch: Sequence[Work]) -> list[Outcome]:
        steps.append([len(work.tokens) for work in batch])
        return step(self, batch)

    lengths = [3 * CHUNK + 5, 4, 2 * CHUNK, CHUNK + 1, 9, CHUNK]
    prompts = [prompt(length, i) for i, length in enumerate(lengths)]
    with monkeypatch.context() as patch:
        patch.setattr(Engine, "step", watched)
        played = dict(play(engines()[:1], [continued(p, (), 12) for p in prompts]))
    assert max(sum(n for n in each if n > 1) for each in steps) <= CHUNK
    assert any(1 in each and sum(each) > CHUNK for each in steps), "others speak meanwhile"
    for at, text in enumerate(prompts):
        whole = Engine(tiny())  # in one go: what chunks must equal
        whole.open("s", Sampling())
        said = whole.step([Work("s", text)])[0].tokens
        while len(said) < 12:
            said += whole.step([Work("s", said[-1:])])[0].tokens
        assert played[at] == said


def test_sessions_are_closed_when_their_scripts_end() -> None:
    both = engines()
    for _ in play(both, [asking([Ask(prompt(5, i), i % 2), Ask(prompt(6, i), 1)]) for i in range(9)], 4):
        pass
    assert [len(engine._sessions) for engine in both] == [0, 0]
