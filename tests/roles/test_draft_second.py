"""Second choices: leaves beside a chain's guesses, which take no pass of the small model."""

import pytest

from ringroad.actors.drafter.chain import BELIEVED, SECOND
from ringroad.actors.drafter.model import ModelDrafter
from ringroad.actors.drafter.plan import Plan
from ringroad.actors.messages import Draft, Policy, Sampling
from tests.roles import draft_reference
from tests.roles.one_draft import COLD, MODEL, SAMPLINGS, TEXT, Counted, judged, proposal, tree_of


def drafter(**options: object) -> ModelDrafter:
    return ModelDrafter(Counted(), "small", plan=Plan(second_choices=True, **options))  # type: ignore[arg-type]


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=str)
@pytest.mark.parametrize("budget", [1, 3, 6])
def test_beside_each_guess_stands_the_runner_up(budget: int, sampling: Sampling) -> None:
    found = tree_of(proposal(drafter(), judged(budget), sampling))
    expected, text = set(), list(TEXT)
    for _ in range(budget):
        first, second = (
            token
            for token, _ in draft_reference.siblings(
                draft_reference.logits(MODEL, text), sampling, len(text), 2
            )
        )
        stem = tuple(text[len(TEXT) :])
        expected |= {(*stem, first), (*stem, second)}
        text.append(first)
    assert set(found) == expected


def test_they_take_no_pass() -> None:
    with_them, without = drafter(), ModelDrafter(Counted(), "small")
    proposal(with_them, judged(5))
    proposal(without, judged(5))
    assert with_them._engine.rows == without._engine.rows  # type: ignore[attr-defined]


def test_a_second_choice_scores_what_the_first_leaves() -> None:
    """At first by belief: a guess of unknown margin stays in 3 of 4, its runner-up in 0.45 of the rest."""
    found = tree_of(proposal(drafter(), judged(2), COLD))
    share = BELIEVED[10]
    stem = max((path for path in found if len(path) == 2), key=lambda path: found[path])
    assert found[stem[:1]] == pytest.approx(share)
    assert found[stem] == pytest.approx(share**2)
    (first_leaf,) = (path for path in found if len(path) == 1 and path != stem[:1])
    (second_leaf,) = (path for path in found if len(path) == 2 and path != stem)
    assert found[first_leaf] == pytest.approx((1 - share) * BELIEVED[SECOND])
    assert found[second_leaf] == pytest.approx(share * (1 - share) * BELIEVED[SECOND])


@pytest.mark.parametrize("right", [True, False])
def test_it_learns_how_often_they_are_right(right: bool) -> None:
    role = drafter()
    before = role._hits.share(SECOND)
    first = proposal(role, judged(1), COLD)
    other = next(path[0] for path in tree_of(first) if path[0] != first.tokens[0])
    spoken = other if right else next(t for t in range(9) if t not in (other, first.tokens[0]))
    proposal(role, Draft("s", 0, len(TEXT), [spoken], 1, None, judged=True), COLD, opened=True)
    assert (role._hits.share(SECOND) > before) is right
    assert role._hits.share(10) < BELIEVED[10]  # the first choice was wrong either way


def test_unlikely_ones_are_left_out() -> None:
    found = tree_of(proposal(drafter(floor=0.1), judged(6), COLD))
    assert all(score >= 0.1 for score in found.values())
    assert len(found) < 12


def test_drafts_that_nobody_judges_stay_a_chain() -> None:
    """In modes small and routed the small model's own words are kept, and nothing beside them."""
    answer = proposal(drafter(), Draft("s", 0, 0, TEXT, 4, Policy("margin", 2.0)))
    assert answer.parents == []
    assert answer.features is not None
