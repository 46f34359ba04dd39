"""Draft-ahead: what is prepared for a verdict, when it comes of use, and that nothing else changes."""

import pytest

from ringroad.actors.drafter.ahead import likely
from ringroad.actors.drafter.model import ModelDrafter
from ringroad.actors.drafter.plan import Plan
from ringroad.actors.drafter.strategy import Strategy
from ringroad.actors.drafter.tree import Tree, chain
from ringroad.actors.engine.engine import Engine, Work
from ringroad.actors.messages import Draft, Message, Open, Policy, Proposal, Sampling
from tests import reference
from tests.engine.tiny import SHAPE, Kind, prompt, tiny

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
    guesses = Tree([7, 8], [-1, 0], [0.6, 0.3])
    lines = likely(guesses, {(): (7, 4), (7,): (8, 5)}, own=0.8, second=0.5, count=9)
    # 0.3 * 0.8 = 0.24 beats (1 - 0.6) * 0.5 = 0.2 beats (0.6 - 0.3) * 0.5 = 0.15
    assert [(line.path, line.guesses) for line in lines] == [([7, 8], -1), ([4], 0), ([7, 5], 0)]
    assert [line.path for line in likely(guesses, {(): (7, 4), (7,): (8, 5)}, 0.6, 0.5, 1)] == [[4]]


def test_a_second_choice_that_is_a_guess_is_an_outcome_as_one() -> None:
    """Where it stays, what follows is the small model's own word."""
    tree = Tree([7, 4], [-1, -1], [0.6, 0.3])
    lines = likely(tree, {(): (7, 4)}, own=0.8, second=0.5, count=9)
    assert [(line.path, line.guesses) for line in lines] == [([7], -1), ([4], -1)]


def test_a_first_choice_that_is_no_guess_is_the_likeliest_word() -> None:
    """It was too unlikely to be proposed; where its parent is the last that stays it is not, any more."""
    guesses = Tree([7], [-1], [0.6])
    lines = likely(guesses, {(): (7, 4), (7,): (8, 5)}, own=0.8, second=0.5, count=9)
    assert [(line.path, line.guesses) for line in lines] == [([7, 8], 0), ([4], 0)]


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
    doubtful = Policy("margin", 0.0)
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
    answer = asked(role, len(TEXT) + 4, [whole[4]], AHEAD, budget, Policy("margin", 2.0))
    assert answer.tokens == whole[5 : 5 + budget]
    assert len(engine(role).rows) - before == max(0, budget - 4)
    assert answer.features is not None
    assert len(answer.features.margin) == budget


def test_a_cut_vocabulary_is_cut_here_too() -> None:
    """Of 160 ids: what is prepared is what would be proposed."""
    answers = []
    for outcomes in (SERIAL, AHEAD):
        role = drafter(vocabulary=160)
        text = [token % 160 for token in TEXT]
        first = asked(role, 0, text, outcomes)
        bonus = asked(drafter(vocabulary=160), 0, [*text, *first.tokens], SERIAL, 1).tokens
        idle(role)
        answers.append(asked(role, len(text) + 4, bonus, outcomes))
    assert answers[0].tokens == answers[1].tokens
    assert max(answers[0].tokens) < 160
    assert answers[1].took is None


def test_what_nobody_judges_is_drafted_anew() -> None:
    role, whole = drafter(), said(TEXT, 9)
    asked(role, 0, TEXT, AHEAD)
    idle(role)
    before = len(engine(role).rows)
    role.receive(Draft("s", 0, len(TEXT) + 4, [whole[4]], 4))
    while role.busy:
        role.step()
    assert len(engine(role).rows) - before == 4


def test_where_a_helper_has_filled_the_cache_to_the_last_guess() -> None:
    """With two levels a chain that stops at doubt has read its last guess already."""
    whole = said(TEXT, 4)
    helped = chain(whole[:3], [0.9, 0.8, 0.7])

    class Helper(Strategy):
        def propose(self, session: str, text: object, budget: int) -> Tree:
            return helped if (text, budget) == (TEXT, 3) else Tree()  # asked below the model, not beside it

    role = drafter(free=Helper(), two_levels=True)
    doubtful = Policy("margin", 0.0)
    stem = asked(role, 0, TEXT, AHEAD, until=doubtful).tokens[:1]
    assert stem == whole[:1]
    assert role._engine.length("s") == len(TEXT) + 1
    idle(role)
    answer = asked(role, len(TEXT) + 1, [whole[1]], AHEAD, until=doubtful)
    assert (answer.tokens[:1], answer.took) == (whole[2:3], None)
