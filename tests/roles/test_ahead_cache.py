"""Draft-ahead and what lies around it: the cache, other sessions, questions that come meanwhile."""

import pytest

from ringroad.actors.drafter.ahead import LAG, Ahead, likely
from ringroad.actors.drafter.chain import UNSEEN
from ringroad.actors.drafter.model import ModelDrafter
from ringroad.actors.drafter.tree import Tree
from ringroad.actors.engine.pool import BLOCK
from ringroad.actors.messages import Close, Draft, Forgotten, Open, Proposal, Welcome
from tests.engine.tiny import SHAPE, Kind, bits, prompt, same_after_a_tree
from tests.roles.test_ahead import (
    AHEAD,
    KINDS,
    MANY,
    SERIAL,
    TEXT,
    WARM,
    Counted,
    asked,
    drafter,
    engine,
    idle,
    runner_up,
    said,
)

# --- the cache ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("outcomes", [AHEAD, 2, MANY])
@pytest.mark.parametrize("passes", [0, 1, 2, 3, 100])
def test_after_any_verdict_the_cache_is_a_serial_drafters(kind: Kind, outcomes: int, passes: int) -> None:
    """The same length up to what is drafted, the same keys and values, and the same answers from there."""
    for stays in range(5):
        whole = said(TEXT, 5, kind)
        token = whole[stays] if stays == 4 else (whole[stays] + 1) % SHAPE.vocabulary
        for recovered in (token, runner_up([*TEXT, *whole[:stays]])):
            roles = [drafter(kind), drafter(kind)]
            for role, wanted in zip(roles, (SERIAL, outcomes), strict=True):
                asked(role, 0, TEXT, wanted)
                idle(role, passes)
            answers = [asked(role, len(TEXT) + stays, [recovered], SERIAL) for role in roles]
            again = [asked(role, len(TEXT) + stays + 3, [3], SERIAL) for role in roles]
            assert answers[0].tokens == answers[1].tokens
            assert again[0].tokens == again[1].tokens
            serial, other = (bits(role._engine._sessions["s"].cache) for role in roles)
            assert len(serial) == len(other)
            assert same_after_a_tree(kind, serial, other)


def test_nothing_is_shared_that_is_not_committed() -> None:
    """Guesses, prepared or not, are known to nobody; what was committed is."""
    text = prompt(2 * BLOCK - 3)
    for outcomes in (SERIAL, AHEAD, MANY):
        role = drafter()
        asked(role, 0, text, outcomes, budget=16)
        idle(role)
        role.receive(Open("t", 0, WARM))
        assert role._engine.adopt("t", [*text, *said(text, 16)]) == len(text)
        role.receive(Close("s"))
        role.receive(Open("t", 1, WARM))
        assert role._engine.adopt("t", [*text, *said(text, 16)]) == len(text)
        assert role._engine.idle_tokens == 0
        role.receive(Open("s", 1, WARM))
        role.receive(Draft("s", 1, 0, [*text, *said(text, 16)], 1, judged=True))
        assert role.step()
        role.receive(Close("s"))
        role.receive(Open("t", 2, WARM))
        assert role._engine.adopt("t", [*text, *said(text, 16)]) == len(text) + 15


def test_without_room_what_is_prepared_goes_first_and_silently() -> None:
    block = SHAPE.layers * 2 * SHAPE.kv_heads * BLOCK * SHAPE.head_dim * 4
    text = prompt(BLOCK - 3)
    role = ModelDrafter(Counted(cache_bytes=block), "small")
    role.receive(Open("s", 0, WARM))
    first = asked(role, 0, text, AHEAD)  # its last guess would be in the second block
    assert idle(role) < 5
    assert not role.busy
    assert first.tokens == said(text, 4)
    assert asked(role, len(text), [3], SERIAL, budget=2).tokens == said([*text, 3], 2)


def test_a_session_that_gave_way_has_nothing_prepared() -> None:
    role = drafter()
    asked(role, 0, TEXT, MANY)
    idle(role, 2)
    role._engine.truncate("s", 0)
    assert idle(role) == 0
    assert not role.busy
    whole = said(TEXT, 9)
    assert asked(role, len(TEXT) + 4, [whole[4]], MANY).tokens == whole[5:9]
    lost = Ahead(Draft("s", 0, 0, TEXT, 4), 100, likely(Tree(), {}, 1.0, 1.0, 1), 50)
    assert lost.plan([1] * 100, 100 - LAG - 1) is None


@pytest.mark.parametrize("outcomes", [AHEAD, MANY])
def test_nothing_is_read_beyond_the_context(outcomes: int) -> None:
    role = drafter()
    text = prompt(SHAPE.context - 6)
    asked(role, 0, text, outcomes)
    idle(role)
    assert not role.busy
    assert role._engine.length("s") <= SHAPE.context


# --- who goes first -------------------------------------------------------------------------------


def test_a_question_goes_before_what_is_prepared() -> None:
    role = drafter()
    asked(role, 0, TEXT, AHEAD)
    idle(role, 1)
    role.receive(Open("t", 0, WARM, salt=b"t" * 16))
    role.receive(Draft("t", 0, 0, TEXT, 3, judged=True))
    before = len(engine(role).rows)
    for _ in range(3):
        answers = role.step()
    assert [answer.session for answer in answers if isinstance(answer, Proposal)] == ["t"]
    assert engine(role).rows[before:] == [30, 1, 1], "nothing of the other session in between or beside"
    assert role.busy
    assert idle(role) == 4


def test_an_answer_at_hand_does_not_wait_for_a_pass() -> None:
    role, whole = drafter(), said(TEXT, 9)
    for session in ("t", "s"):
        role.receive(Open(session, 0, WARM))
    role.receive(Draft("t", 0, 0, TEXT, 9, judged=True, outcomes=1))
    while not role.step():
        pass
    asked(role, 0, TEXT, AHEAD)
    idle(role, 5)  # a pass serves both
    before = len(engine(role).rows)
    role.receive(Draft("s", 0, len(TEXT) + 4, [whole[4]], 4, judged=True, outcomes=1))
    assert [answer.session for answer in role.step() if isinstance(answer, Proposal)] == ["s"]
    assert len(engine(role).rows) == before
    assert role.busy


@pytest.mark.parametrize("outcomes", [AHEAD, MANY])
def test_what_ends_a_session_ends_what_is_prepared_for_it(outcomes: int) -> None:
    for end in (Close("s"), Open("s", 1, WARM), Welcome("another")):
        role = drafter()
        asked(role, 0, TEXT, outcomes)
        idle(role, 2)
        assert role.busy
        role.receive(end)
        assert not role.busy
        assert len(role._idle) == 0
        assert role.hello().cached_tokens == 0


def test_a_draft_that_does_not_fit_throws_it_away() -> None:
    """And with it what the cache holds beside the text: here the first guess's second choice."""
    role = drafter()
    for _ in range(300):
        role._hits.saw(UNSEEN, False)
    asked(role, 0, TEXT, AHEAD)
    idle(role, 3)
    assert role._engine._sessions["s"].prefix.tokens[len(TEXT)] == runner_up(TEXT)
    role.receive(Draft("s", 0, 99, [1], 4, judged=True))
    assert role.step() == [Forgotten("s", 0)]
    assert not role.busy
    whole = said(TEXT, 9)
    assert asked(role, len(TEXT) + 4, [whole[4]], SERIAL).tokens == whole[5:9]


def test_a_pass_that_raises_costs_only_what_was_prepared() -> None:
    role = drafter()
    asked(role, 0, TEXT, AHEAD)
    role._idle._ahead["s"]._lines[0].path[-1] = SHAPE.vocabulary + 5  # no such token
    with pytest.raises(IndexError):
        role.step()
    assert role.rescue() == []
    assert not role.busy
    whole = said(TEXT, 9)
    assert asked(role, len(TEXT) + 4, [whole[4]], SERIAL).tokens == whole[5:9]


def test_nothing_is_prepared_that_was_not_asked_for_or_is_not_judged() -> None:
    role = drafter()
    asked(role, 0, TEXT, SERIAL)
    assert not role.busy
    role.receive(Draft("s", 0, 0, TEXT, 4, outcomes=3))
    while not role.step():
        pass
    assert not role.busy
