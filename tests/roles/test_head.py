"""The learned head as a role, and both of its places: the same text by the same speakers."""

import pytest

from ringroad.actors.colocated import Colocated
from ringroad.actors.drafter.model import ModelDrafter
from ringroad.actors.engine.engine import Engine
from ringroad.actors.head.head import HeadRole
from ringroad.actors.messages import (
    Chunk,
    Features,
    Message,
    Mode,
    Policy,
    Ruling,
    Seen,
    Speaker,
    Submit,
    Welcome,
)
from ringroad.actors.role import Role
from ringroad.actors.router.config import RouterConfig
from ringroad.kernels.head import Head
from ringroad.kernels.linear import Weights
from tests.engine.tiny import SHAPE, prompt
from tests.kernels.heads import sight, tensors
from tests.roles.pair import KINDS, SAMPLINGS, counts_of, request, small, speakers_of, text_of, verifier

HEAD = tensors(SHAPE.width)
LEARNED = Policy("learned", 0.5)
COLD, WARM = SAMPLINGS[0], SAMPLINGS[1]


def inside(kind: Weights = "bf16") -> list[Role]:
    """The head in the drafter."""
    return [verifier(kind), ModelDrafter(Engine(small(kind), head=Head(HEAD)), "small")]


def apart(kind: Weights = "bf16", head: Role | None = None) -> list[Role]:
    """The head as a role of its own."""
    return [verifier(kind), ModelDrafter(Engine(small(kind)), "small"), head or HeadRole(Head(HEAD), "head")]


def crowd(policy: Policy = LEARNED, sessions: int = 6) -> list[Submit]:
    found = []
    for i in range(sessions):
        text = prompt(5 + 9 * i, i)
        sampling = [COLD, WARM, SAMPLINGS[3]][i % 3]
        found.append(
            request(sampling, Mode.ROUTED, name=f"s{i}", text=text, draft_tokens=1 + 2 * i, policy=policy)
        )
    return found


Texts = dict[str, tuple[list[int], list[Speaker]]]


def texts(chunks: dict[str, list[Chunk]]) -> Texts:
    return {name: (text_of(each), speakers_of(each)) for name, each in chunks.items()}


class Late(HeadRole):
    """A head that answers every so many steps of the room only."""

    left = 0

    def step(self) -> list[Message]:
        self.left = (self.left + 1) % 4
        return [] if self.left else super().step()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [None, 0.25])
def test_both_places_give_the_same_texts_by_the_same_speakers(kind: Weights, share: float | None) -> None:
    policy = Policy("learned", 0.5, share)
    whole = Colocated(RouterConfig(), *inside(kind)).generate(*crowd(policy))
    expected = texts(whole)
    spoken = [who for _, each in expected.values() for who in each]
    assert {Speaker.LARGE, Speaker.SMALL_KEPT} == set(spoken), "both speak"
    assert all(counts_of(chunks).degraded == [] for chunks in whole.values())
    for head in (HeadRole(Head(HEAD), "head"), Late(Head(HEAD), "late")):
        found = Colocated(RouterConfig(), *apart(kind, head)).generate(*crowd(policy))
        assert texts(found) == expected
        assert all(counts_of(chunks).degraded == [] for chunks in found.values())
        assert head.hello().rulings >= sum(counts_of(chunks).kept for chunks in found.values())


def test_a_session_alone_says_the_same_as_in_company() -> None:
    expected = texts(Colocated(RouterConfig(), *inside()).generate(*crowd()))
    for submit in crowd():
        for roles in (inside(), apart()):
            alone = Colocated(RouterConfig(), *roles).generate(submit)
            assert texts(alone) == {submit.session: expected[submit.session]}


def test_without_any_head_margin_decides_and_it_is_said() -> None:
    roles = [verifier("bf16"), ModelDrafter(Engine(small("bf16")), "small")]
    found = Colocated(RouterConfig(), *roles).generate(*crowd())
    by_margin = Colocated(RouterConfig(), *roles).generate(*crowd(Policy("margin", 0.7)))
    assert texts(found) == texts(by_margin)
    assert all(counts_of(chunks).degraded == ["head"] for chunks in found.values())


@pytest.mark.parametrize("mode", [Mode.SPECULATIVE, Mode.ROUTED])
def test_nothing_is_judged_where_no_rule_asks(mode: Mode) -> None:
    """Plain speculation, and other rules, pay nothing for a head."""

    class Broken(Head):
        def doubts(self, seen: object) -> None:  # type: ignore[override]
            raise AssertionError("asked")

    policy = Policy("margin", 0.6) if mode is Mode.ROUTED else None
    submit = request(WARM, mode, policy=policy)
    roles = [verifier("bf16"), ModelDrafter(Engine(small("bf16"), head=Broken(HEAD)), "small")]
    chunks = Colocated(RouterConfig(), *roles).generate(submit)["s"]
    assert counts_of(chunks).degraded == []
    head = HeadRole(Head(HEAD), "head")
    Colocated(RouterConfig(), *apart("bf16", head)).generate(submit)
    assert head.hello().rulings == 0


class Mortal(Colocated):
    """A room whose head is lost after some steps, and perhaps comes back after as many."""

    def __init__(self, *roles: Role, steps: int, returns: bool) -> None:
        super().__init__(RouterConfig(), *roles)
        self._every, self._left, self._returns = steps, steps, returns
        self.deaths = 0

    def _step(self) -> bool:
        self._left -= 1
        if self._left == 0:
            self._left = self._every
            if self._roles.pop(b"head-2", None) is not None:
                self._router.lose(b"head-2")
                self.deaths += 1
            elif self._returns:
                self._roles[b"head-2"] = HeadRole(Head(HEAD), "head")
                self._router.receive(b"head-2", self._roles[b"head-2"].hello(), now=0.0)
        return super()._step()


@pytest.mark.parametrize("returns", [False, True])
@pytest.mark.parametrize("steps", [1, 2, 3, 5, 8])
def test_losing_the_head_during_twenty_streams_loses_none(steps: int, returns: bool) -> None:
    room = Mortal(*apart("bf16", Late(Head(HEAD), "late")), steps=steps, returns=returns)
    chunks = room.generate(*crowd(sessions=20))
    assert room.deaths
    for submit in crowd(sessions=20):
        counts = counts_of(chunks[submit.session])  # one end, no gap
        assert len(text_of(chunks[submit.session])) == submit.max_tokens
        assert counts.degraded in ([], ["head"])
    if not returns:
        assert any(counts_of(each).degraded == ["head"] for each in chunks.values())


# --- the role by itself ---------------------------------------------------------------------------


def seen(session: str, rows: int, seed: int = 0, cut: int = 0) -> Seen:
    what = sight(rows, SHAPE.width, seed)
    data = what.pack()
    return Seen(session, 3, 40, 2, what.tokens.tolist(), Features([], []), data[: len(data) - cut])


def test_all_in_hand_is_judged_in_one_call() -> None:
    class Counting(Head):
        calls = 0

        def doubts(self, seen):  # type: ignore[no-untyped-def]
            type(self).calls += 1
            return super().doubts(seen)

    role = HeadRole(Counting(HEAD), "head")
    for i in range(5):
        role.receive(seen(f"s{i}", 1 + i, i))
    assert role.asked
    answers = role.step()
    assert Counting.calls == 1
    for i, answer in enumerate(answers):
        assert isinstance(answer, Ruling)
        assert (answer.session, answer.epoch, answer.length, answer.first) == (f"s{i}", 3, 40, 2)
        assert answer.doubts == Head(HEAD).doubts(sight(1 + i, SHAPE.width, i)).tolist()
    assert not role.busy
    assert role.hello().rulings == 15


def test_what_cannot_be_judged_spoils_nothing_else() -> None:
    role = HeadRole(Head(HEAD), "head")
    role.receive(seen("good", 2))
    role.receive(seen("bad", 2, cut=6))
    with pytest.raises(ValueError, match="no sight"):
        role.step()
    good, bad = role.rescue()
    assert isinstance(good, Ruling)
    assert isinstance(bad, Ruling)
    assert (good.session, len(good.doubts)) == ("good", 2)
    assert (bad.session, bad.doubts) == ("bad", [])
    assert not role.busy


def test_another_router_voids_what_is_in_hand() -> None:
    role = HeadRole(Head(HEAD), "head")
    role.receive(Welcome("one"))
    role.receive(seen("s", 1))
    role.receive(Welcome("one"))
    assert role.busy
    role.receive(Welcome("two"))
    assert not role.busy
