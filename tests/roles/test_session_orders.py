"""The state machine under any order of events."""

from hypothesis import given, settings
from hypothesis import strategies as st

from ringroad.actors.messages import Finish, Forgotten, Mode, Proposal
from ringroad.actors.router.events import Allowed, From, Gained
from ringroad.actors.router.state import DRAFTER, VERIFIER
from tests.roles.scripted import generated, script, spoken

MODES = list(Mode)
BOTH = (DRAFTER, VERIFIER)
STEPS = ["answer", "answer", "tree", "allow", "replay", "lose", "gain", "forget", "fail", "other epoch"]


@given(
    st.sampled_from(MODES),
    st.integers(1, 25),
    st.integers(0, 8),
    st.sets(st.integers(0, 10), max_size=2),
    st.lists(st.tuples(st.sampled_from(STEPS), st.sampled_from(BOTH), st.integers(0, 99)), max_size=60),
)
@settings(max_examples=400)
def test_any_order_of_events(
    mode: Mode, max_tokens: int, draft_tokens: int, ends: set[int], steps: list[tuple[str, str, int]]
) -> None:
    """`Script` checks every step; in the end, with all there, the text is finished and right."""
    run = script(mode, max_tokens=max_tokens, draft_tokens=draft_tokens, ends=sorted(ends))
    there = dict.fromkeys(BOTH, True)
    drafter_lost = False
    for what, role, number in steps:
        epoch = run.last_epoch[role]
        match what:
            case "answer" | "tree":
                run.answer(tree=what == "tree")
            case "allow" if mode is Mode.SPECULATIVE:
                assert run.tell(Allowed(number % 9)) == []
            case "replay" if run.consumed:
                state, old = run.state, run.consumed[number % len(run.consumed)]
                asked = DRAFTER if isinstance(old, Proposal) else VERIFIER
                if (state.asked, run.last_epoch[asked], state.length) == (asked, old.epoch, old.length):
                    continue  # asked the same once more, and this answers it
                assert run.tell(old) == []
                assert run.state == state
            case "lose" if there[role]:
                there[role], drafter_lost = False, drafter_lost or role == DRAFTER
                run.lose(role)
            case "gain" if not there[role]:
                there[role] = True
                run.tell(Gained(role))
            case "forget" if there[role] and role in run.held:
                run.forget(role)
            case "fail" if role == DRAFTER and role in run.held and mode is not Mode.SMALL:
                there[role], drafter_lost = False, True
                run.fail_drafter()
            case "other epoch":
                state = run.state
                run.tell(From(role, Forgotten("s", epoch + 1)))
                assert run.state == state
    for role in BOTH:
        if not there[role]:
            run.tell(Gained(role))
    run.run()
    assert len(run.ends) == 1
    found = generated(run)
    assert run.ends[0].finish is (Finish.STOP if found[-1] in ends else Finish.LENGTH)
    assert run.state.length == run.state.limit or found[-1] in ends
    if not drafter_lost or mode in (Mode.LARGE, Mode.SPECULATIVE):
        assert found == [spoken(mode, 3 + i)[0] for i in range(len(found))]
