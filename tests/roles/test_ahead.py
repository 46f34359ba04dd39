"""Draft-ahead: what is prepared for a verdict, when it comes of use, and that nothing else changes."""

import pytest

from ringroad.actors.drafter.ahead import LAG, Ahead, likely
from ringroad.actors.drafter.model import ModelDrafter
from ringroad.actors.drafter.plan import Plan
from ringroad.actors.drafter.tree import Tree
from ringroad.actors.engine.engine import Engine, Work
from ringroad.actors.engine.pool import BLOCK
from ringroad.actors.messages import (
    Close,
    Draft,
    Forgotten,
    Message,
    Open,
    Policy,
    Proposal,
    Sampling,
    Welcome,
)
from tests import reference
from tests.engine.tiny import SHAPE, Kind, bits, prompt, same_after_a_tree, tiny

WARM = Sampling(seed=5, temperature=0.8)
TEXT = prompt(30)
SERIAL, AHEAD, MANY = 0, 1, 5
KINDS: list[Kind] = ["fp32", "bf16"]


class Counted(Engine):
    """Counts the rows of its steps."""

    def __init__(self, kind: Kind = "fp32", cache_bytes: int = 10**9) -> None:
        super().__init__(tiny(kind), cache_bytes)
        self.rows: list[int] = []

    def step(self, batch):  # type: ignore[no-untyped-def]
        self.rows.append(sum(len(work.tokens) for work in batch))
        return super().step(batch)


def drafter(kind: Kind = "fp32", **options: object) -> ModelDrafter:
    role = ModelDrafter(Counted(kind), "small", plan=Plan(**options))  # type: ignore[arg-type]
    role.receive(Open("s", 0, WARM))
    return role


def engine(role: ModelDrafter) -> Counted:
    assert isinstance(role._engine, Counted)
    return role._engine


def asked(
    role: ModelDrafter,
    base: int,
    tokens: list[int],
    outcomes: int,
    budget: int = 4,
    until: Policy | None = None,
) -> Proposal:
    """The answer to a draft; what is left to prepare is left."""
    role.receive(Draft("s", 0, base, tokens, budget, until, judged=True, outcomes=outcomes))
    found: list[Message] = []
    while not found:
        assert role.busy
        found = role.step()
    (answer,) = found
    assert isinstance(answer, Proposal)
    return answer


def idle(role: ModelDrafter, passes: int = 1000) -> int:
    """Lets a role prepare; how many passes it took."""
    before = len(engine(role).rows)
    while role.busy and len(engine(role).rows) - before < passes:
        assert role.step() == []
    return len(engine(role).rows) - before


def said(text: list[int], count: int, kind: Kind = "fp32") -> list[int]:
    return reference.plain_text(tiny(kind), text, WARM, count)


def runner_up(text: list[int]) -> int:
    """The second best of what the argmax is taken over after a text."""
    fresh = Engine(tiny())
    fresh.open("s", WARM)
    (outcome,) = fresh.step([Work("s", text, siblings=2)])
    return outcome.siblings[0][1][0]


# --- outcomes -------------------------------------------------------------------------------------


def test_the_likeliest_outcomes_come_first() -> None:
    """A chain 7 8 of which the model has read all but its last, second choices 4 (of 7) and 5 (of 8)."""
    chain = Tree([7, 8], [-1, 0], [0.6, 0.3])
    lines = likely(chain, {(): 4, (7,): 5}, own=0.8, second=0.5, count=9)
    # 0.3 * 0.8 = 0.24 beats (1 - 0.6) * 0.5 = 0.2 beats (0.6 - 0.3) * 0.5 = 0.15
    assert [(line.path, line.guesses) for line in lines] == [([7, 8], -1), ([4], 0), ([7, 5], 0)]
    assert [line.path for line in likely(chain, {(): 4, (7,): 5}, 0.6, 0.5, 1)] == [[4]]


def test_a_second_choice_that_is_a_guess_is_an_outcome_as_one() -> None:
    """Where it stays, what follows is the small model's own word."""
    tree = Tree([7, 4], [-1, -1], [0.6, 0.3])
    lines = likely(tree, {(): 4}, own=0.8, second=0.5, count=9)
    assert [(line.path, line.guesses) for line in lines] == [([7], -1), ([4], -1)]


# --- hits -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("second_choices", [False, True])
@pytest.mark.parametrize("outcomes", [AHEAD, MANY])
def test_what_the_drafter_would_say_itself_is_always_prepared(
    outcomes: int, second_choices: bool, kind: Kind
) -> None:
    """As where the large model is the small one: every guess stays, and so does every guess of its token."""
    role = drafter(kind, second_choices=second_choices)
    whole = said(TEXT, 30, kind)
    first, at = asked(role, 0, TEXT, outcomes), 0
    assert first.took is not None
    for _ in range(4):
        idle(role)
        before = len(engine(role).rows)
        answer = asked(role, len(TEXT) + at + 4, [whole[at + 4]], outcomes)
        at += 5
        assert [token for token in answer.tokens if token in whole[at : at + 4]][:4] == whole[at : at + 4]
        assert (answer.took, answer.seconds) == (None, 0.0), "it costs the round nothing"
        assert len(engine(role).rows) == before


@pytest.mark.parametrize("stays", range(4))
def test_enumeration_foresees_a_recovered_token(stays: int) -> None:
    """The runner-up of a guess that goes, wherever that is."""
    role = drafter()
    first = asked(role, 0, TEXT, MANY)
    idle(role)
    stem = first.tokens[:stays]
    recovered = runner_up([*TEXT, *stem])
    before = len(engine(role).rows)
    answer = asked(role, len(TEXT) + stays, [recovered], MANY)
    assert len(engine(role).rows) == before
    assert answer.tokens == said([*TEXT, *stem, recovered], 4)


@pytest.mark.parametrize("node", range(4))
def test_with_second_choices_it_foresees_what_follows_one_that_stays(node: int) -> None:
    role = drafter(second_choices=True)
    stem = asked(role, 0, TEXT, outcomes=16).tokens[:4]
    idle(role)
    stem = said(TEXT, 4)
    path = [*stem[:node], runner_up([*TEXT, *stem[:node]])]
    bonus = said([*TEXT, *path], 1)
    before = len(engine(role).rows)
    # The verdict's path is no chain of the proposal's first guesses, so the text goes back to where it was.
    answer = asked(role, len(TEXT), [*path, *bonus], outcomes=16)
    assert len(engine(role).rows) == before
    assert set(said([*TEXT, *path, *bonus], 4)) <= set(answer.tokens)


@pytest.mark.parametrize("outcomes", [AHEAD, MANY])
@pytest.mark.parametrize("passes", range(5))
def test_what_is_prepared_in_part_saves_the_passes_it_took(passes: int, outcomes: int) -> None:
    """One pass for the token behind the guesses, then one for each guess behind that."""
    role, whole = drafter(), said(TEXT, 9)
    asked(role, 0, TEXT, outcomes)
    idle(role, passes)
    before = len(engine(role).rows)
    answer = asked(role, len(TEXT) + 4, [whole[4]], outcomes)
    assert answer.tokens == whole[5:9]
    missing = 4 - max(0, passes - 1)
    assert len(engine(role).rows) - before == missing
    assert answer.took is not None
    assert answer.took.passes == missing


def test_a_miss_drafts_as_ever_and_costs_no_more_rows_than_serial() -> None:
    strange = (said(TEXT, 5)[4] + 1) % SHAPE.vocabulary
    rows = {}
    for outcomes in (SERIAL, AHEAD):
        role = drafter()
        asked(role, 0, TEXT, outcomes)
        idle(role)
        before = len(engine(role).rows)
        answer = asked(role, len(TEXT) + 4, [strange], outcomes)
        assert answer.tokens == said([*TEXT, *said(TEXT, 4), strange], 4)
        rows[outcomes] = engine(role).rows[before:]
    # The last guess, which serial drafting has not read, is in the cache already.
    assert rows == {SERIAL: [2, 1, 1, 1], AHEAD: [1, 1, 1, 1]}


def test_preparing_stops_at_doubt_but_not_at_the_token_of_the_verdict() -> None:
    doubtful = Policy("margin", 2.0)
    role = drafter()
    whole = said(TEXT, 3)
    assert asked(role, 0, TEXT, AHEAD, until=doubtful).tokens == whole[:1]
    assert idle(role) == 2, "the verdict's token, and one guess"
    before = len(engine(role).rows)
    assert asked(role, len(TEXT) + 1, [whole[1]], AHEAD, until=doubtful).tokens == whole[2:3]
    assert len(engine(role).rows) == before


@pytest.mark.parametrize("budget", [2, 7])
def test_a_draft_of_another_budget_or_rule_uses_what_fits(budget: int) -> None:
    role, whole = drafter(), said(TEXT, 12)
    asked(role, 0, TEXT, AHEAD)
    idle(role)
    before = len(engine(role).rows)
    answer = asked(role, len(TEXT) + 4, [whole[4]], AHEAD, budget, Policy("margin", 0.0))
    assert answer.tokens == whole[5 : 5 + budget]
    assert len(engine(role).rows) - before == max(0, budget - 4)
    assert answer.features is not None
    assert len(answer.features.margin) == budget


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
    """Whole blocks of guesses, prepared or not, are known to nobody; what was committed is."""
    text = prompt(2 * BLOCK - 3)
    for outcomes in (SERIAL, AHEAD, MANY):
        role = drafter()
        asked(role, 0, text, outcomes, budget=16)
        idle(role)
        role.receive(Open("t", 0, WARM))
        assert role._engine.adopt("t", [*text, *said(text, 16)]) == BLOCK
        role.receive(Close("s"))
        role.receive(Open("t", 1, WARM))
        assert role._engine.adopt("t", [*text, *said(text, 16)]) == BLOCK
        assert role._engine.idle_tokens == 0
        role.receive(Open("s", 1, WARM))
        role.receive(Draft("s", 1, 0, [*text, *said(text, 16)], 1, judged=True))
        assert role.step()
        role.receive(Close("s"))
        role.receive(Open("t", 2, WARM))
        assert role._engine.adopt("t", [*text, *said(text, 16)]) == 2 * BLOCK


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
    role.receive(Open("t", 0, WARM))
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
    """And what the cache holds beside the text with it."""
    role = drafter()
    asked(role, 0, TEXT, MANY)
    idle(role, 2)
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
