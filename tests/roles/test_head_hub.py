"""The hub between a drafter and a head apart: who is asked when, and what is stale."""

import pytest

from ringroad.actors.messages import (
    Chunk,
    Consult,
    Counts,
    Draft,
    Features,
    Finish,
    Hello,
    Mode,
    Policy,
    Proposal,
    Ruling,
    Seen,
    Verdict,
)
from ringroad.actors.router.config import RouterConfig
from ringroad.actors.router.rulings import PATIENCE
from tests.roles.test_router import DRAFT, GATE, JUDGE, Hub

HEAD = b"head"
LEARNED = Policy("learned", 0.5)
GUESSES = [20, 21, 22, 23]


def columns(count: int) -> Features:
    return Features([0.9] * count, [0.1] * count, [0.95] * count, [0.5] * count)


def asked(budget: int = 4) -> tuple[Hub, Draft]:
    """A routed session whose drafter has just been asked."""
    hub = Hub(RouterConfig(draft_tokens=budget, lost_after_seconds=3.0))
    hub.greet(DRAFT, JUDGE)
    hub.hears(HEAD, Hello("head"))
    hub.take(HEAD)
    hub.submit(mode=Mode.ROUTED, max_tokens=8, policy=LEARNED)  # type: ignore[arg-type]
    draft = hub.take(DRAFT)[-1]
    assert isinstance(draft, Draft)
    assert draft.sights
    return hub, draft


def sees(hub: Hub, draft: Draft, count: int = 4) -> None:
    length = draft.base + len(draft.tokens)
    for i in range(count):
        hub.hears(DRAFT, Seen("s", draft.epoch, length, i, GUESSES[i : i + 1], columns(1), b"bits"))
        assert len(hub.take(HEAD)) == 1


def proposed(draft: Draft) -> Proposal:
    length = draft.base + len(draft.tokens)
    return Proposal("s", draft.epoch, length, GUESSES, [], columns(4))


def rules(hub: Hub, draft: Draft, first: int, *doubts: float) -> None:
    hub.hears(HEAD, Ruling("s", draft.epoch, draft.base + len(draft.tokens), first, list(doubts)))


def test_the_large_model_is_asked_while_the_drafter_still_drafts() -> None:
    hub, draft = asked()
    sees(hub, draft)
    hub.take(JUDGE)
    rules(hub, draft, 0, 0.1)
    assert (hub.chunks(), hub.take(JUDGE)) == ([], [])
    rules(hub, draft, 1, 0.8)
    (chunk,) = hub.chunks()
    assert (chunk.tokens, chunk.offset) == (GUESSES[:1], 0)
    consult = hub.take(JUDGE)[-1]
    assert isinstance(consult, Consult)
    assert (consult.tokens, consult.guesses) == ([1, 2, 3, 20], [])
    hub.hears(DRAFT, proposed(draft))
    rules(hub, draft, 2, 0.1, 0.1)
    assert (hub.chunks(), hub.take(JUDGE), hub.take(DRAFT)) == ([], [], []), "stale"
    hub.hears(JUDGE, Verdict("s", consult.epoch, 4, [], 77))
    again = hub.take(DRAFT)[-1]
    assert isinstance(again, Draft)
    assert (again.base, again.tokens, again.sights) == (4, [77], True), "it is rolled back"


def test_what_the_drafter_proposes_waits_for_the_head() -> None:
    hub, draft = asked()
    sees(hub, draft)
    hub.hears(DRAFT, proposed(draft))
    assert hub.chunks() == []
    rules(hub, draft, 0, 0.1, 0.2, 0.3)
    assert hub.chunks() == []
    rules(hub, draft, 3, 0.4)
    assert [chunk.tokens for chunk in hub.chunks()] == [GUESSES]


@pytest.mark.parametrize("how", ["silent", "dead", "at a loss"])
def test_a_head_that_says_nothing_costs_no_text(how: str) -> None:
    hub, draft = asked()
    sees(hub, draft)
    hub.hears(DRAFT, proposed(draft))
    if how == "dead":
        hub.router.lose(HEAD)
    elif how == "at a loss":
        rules(hub, draft, 0)
    else:
        hub.now = 0.9 * PATIENCE
        hub.router.tick(hub.now)
        assert hub.chunks() == []
        hub.now = 1.1 * PATIENCE
        hub.router.tick(hub.now)
    assert [chunk.tokens for chunk in hub.chunks()] == [GUESSES], "by its margin"
    draft = hub.take(DRAFT)[-1]
    assert isinstance(draft, Draft)
    assert draft.sights == (how == "at a loss")
    hub.hears(HEAD, Hello("head"))
    hub.take(HEAD)
    sees(hub, draft, count=4 if draft.sights else 0)
    hub.hears(DRAFT, proposed(draft))
    if draft.sights:
        rules(hub, draft, 0, 0.0, 0.0, 0.0, 0.0)
    *_, last = hub.chunks()
    assert last.finish is Finish.LENGTH
    assert isinstance(last.counts, Counts)
    assert last.counts.degraded == ["head"]
    assert last.counts.kept == 8


def test_gateways_are_told_of_a_head() -> None:
    hub, _ = asked()
    hub.take(GATE)
    hub.router.tick(0.0)
    told = [message for message in hub.take(GATE) if not isinstance(message, Chunk)]
    assert [peer.role for message in told for peer in message.peers] == ["drafter", "verifier", "head"]  # type: ignore[attr-defined]
