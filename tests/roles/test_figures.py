"""What roles and routers count of their work, and tell with their heartbeat."""

from contextlib import closing

import pytest

from ringroad.actors.channel.hub import Hub as Ends
from ringroad.actors.channel.spoke import Spoke
from ringroad.actors.figures import DEPTHS, Tally
from ringroad.actors.messages import (
    Chunk,
    Close,
    Consult,
    Draft,
    Hello,
    Mode,
    Open,
    Proposal,
    Roster,
    Sampling,
    Verdict,
)
from ringroad.actors.router.config import RouterConfig
from tests.engine.tiny import prompt
from tests.roles.hubs import DRAFT, GATE, JUDGE, Hub
from tests.roles.links import HOST, PATIENT, first
from tests.roles.pair import verifier


def told(hub: Hub) -> Roster:
    """By the next heartbeat."""
    hub.take(GATE)
    hub.router.tick(hub.now)
    (roster,) = [each for each in hub.take(GATE) if isinstance(each, Roster)]
    assert roster.figures is not None
    return roster


def guessing(budget: int = 4) -> Hub:
    hub = Hub(RouterConfig(draft_tokens=budget, adapt=False, until=None))
    hub.hears(GATE, Hello("gateway"))
    hub.greet(DRAFT, JUDGE)
    return hub


def judged(hub: Hub, name: str, guesses: list[int], parents: list[int], path: list[int]) -> None:
    """A round of a session: a proposal and its verdict."""
    (draft,) = [each for each in hub.take(DRAFT) if isinstance(each, Draft)]
    length = draft.base + len(draft.tokens)
    hub.hears(DRAFT, Proposal(name, draft.epoch, length, guesses, parents))
    (consult,) = [each for each in hub.take(JUDGE) if isinstance(each, Consult)]
    hub.hears(JUDGE, Verdict(name, consult.epoch, length, path, 9))


def test_values_fall_up_to_their_bounds() -> None:
    tally = Tally.of([1.0, 2.0])
    for value, count in ((0.5, 1), (1.0, 1), (1.5, 3), (2.5, 1)):
        tally.observe(value, count)
    assert (tally.counts, tally.sum) == ([2, 3, 1], 8.5)


def test_acceptance_is_counted_by_position() -> None:
    hub = guessing()
    hub.submit(mode=Mode.SPECULATIVE, max_tokens=40)
    judged(hub, "s", [5, 6, 7], [], [0, 1])
    judged(hub, "s", [5, 6, 7, 8], [], [])
    judged(hub, "s", [5, 6, 7], [-1, -1, 1], [1, 2])  # a tree two deep
    figures = told(hub).figures
    assert figures is not None
    assert figures.judged[:5] == [3, 3, 2, 1, 0]
    assert figures.accepted[:4] == [2, 2, 0, 0]
    assert len(figures.judged) == len(figures.accepted) == DEPTHS
    assert (sum(figures.budgets.counts), figures.budgets.sum) == (3, 12.0)


def test_who_waits_for_a_verdict_is_told() -> None:
    hub = guessing()
    hub.submit("a", mode=Mode.LARGE)
    hub.submit("b", mode=Mode.SPECULATIVE, max_tokens=9)
    figures = told(hub).figures
    assert figures is not None
    assert (figures.sessions, figures.backlog) == (2, 1)
    assert (sum(figures.judged), sum(figures.budgets.counts)) == (0, 0)
    (consult,) = [each for each in hub.take(JUDGE) if isinstance(each, Consult)]
    hub.judge(JUDGE, consult)
    assert (told(hub).figures or figures).budgets.counts == figures.budgets.counts  # no speculation


def test_lost_peers_are_counted_by_role() -> None:
    hub = guessing()
    hub.greet(b"judge-b")
    hub.submit()
    hub.router.lose(DRAFT, JUDGE, b"nobody")
    figures = told(hub).figures
    assert figures is not None
    assert figures.lost == {"drafter": 1, "verifier": 1}


def test_a_verifier_counts_its_steps_and_what_it_found() -> None:
    judge = verifier("fp32", chunk=64)
    text = prompt(200, 3)
    for name in ("a", "b"):
        judge.receive(Open(name, 0, Sampling(1, 0.0)))
        judge.receive(Consult(name, 0, 0, text))
        while judge.busy:
            judge.step()
    figures = judge.hello().figures
    assert figures is not None
    steps = sum(figures.steps.counts)
    assert steps >= 200 / 64 + 1
    assert figures.steps.sum > 0
    assert figures.rows + figures.found == 400  # every token of both was found or computed
    assert figures.found > 0
    assert 0 < figures.kv_held <= figures.kv_room
    judge.receive(Close("a"))
    judge.receive(Close("b"))
    assert (judge.hello().figures or figures).kv_held == 0
    assert sum(figures.steps.counts) == steps  # nothing is counted that was not done


def test_a_session_given_up_for_an_error_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    judge = verifier("fp32")
    judge.receive(Open("a", 0, Sampling()))
    judge.receive(Consult("a", 0, 0, [1, 2]))

    def fail(_: object) -> None:
        raise ValueError

    monkeypatch.setattr(judge._engine, "step", fail)
    with pytest.raises(ValueError):  # noqa: PT011 - as the loop sees it
        judge.step()
    assert len(judge.rescue()) == 1
    figures = judge.hello().figures
    assert figures is not None
    assert (figures.failed, sum(figures.steps.counts)) == (1, 0)


def test_a_process_says_which_of_its_role_it_is_and_its_figures_cross() -> None:
    judge = verifier("fp32")
    judge.receive(Open("a", 0, Sampling()))
    judge.receive(Consult("a", 0, 0, [1, 2]))
    judge.step()
    with (
        closing(Ends(HOST)) as hub,
        closing(Spoke(lambda: [hub.address], judge.hello, [], PATIENT, 3)),
    ):
        _, hello = first(hub)
    assert isinstance(hello, Hello)
    assert hello.replica == 3
    assert hello.figures == judge.hello().figures
    assert hello.figures is not None
    assert hello.figures.rows == 2


def test_counting_changes_nothing_that_is_said() -> None:
    hub = guessing()
    hub.submit(mode=Mode.SPECULATIVE, max_tokens=3)
    judged(hub, "s", [5, 6], [], [0, 1])
    assert [each.tokens for each in hub.take(GATE) if isinstance(each, Chunk)] == [[5, 6, 9], []]
