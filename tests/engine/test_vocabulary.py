"""Guesses from the first ids alone: what is drawn there, and that nobody else hears of it."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ringroad.actors.engine.engine import Engine, Outcome, Work
from ringroad.actors.messages import Sampling
from tests import reference
from tests.engine.tiny import KINDS, SHAPE, Kind, prompt, tiny
from tests.roles import draft_reference

SAMPLINGS = [
    Sampling(),
    Sampling(1, 0.7),
    Sampling(2, 1.3, top_k=5),
    Sampling(3, 1.0, top_p=0.8),
    Sampling(4, 1.2, min_p=0.05),
]
COUNTS = [2, 64, 100, 200, 319]
TEXT = prompt(9, 5)


def answered(kind: Kind, sampling: Sampling, *counts: int | None, **asked: object) -> list[Outcome]:
    """One step of a session for each count, all with the same text."""
    engine = Engine(tiny(kind))
    for i in range(len(counts)):
        engine.open(str(i), sampling)
    works = [Work(str(i), TEXT, vocabulary=count, **asked) for i, count in enumerate(counts)]  # type: ignore[arg-type]
    return engine.step(works)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("sampling", SAMPLINGS, ids=str)
def test_the_token_is_the_best_of_the_first_ids(kind: Kind, count: int, sampling: Sampling) -> None:
    """With the noise that they have in the whole vocabulary."""
    first = draft_reference.logits(tiny(kind), TEXT)[:count]
    found = answered(kind, sampling, count, siblings=2, features=True)[0]
    assert found.tokens == [reference.draw(first, sampling, len(TEXT))]
    beside = draft_reference.siblings(first, sampling, len(TEXT), 2)
    assert [token for token, _ in found.siblings[0]] == [token for token, _ in beside]
    chances = sorted(reference.softmax(first), reverse=True)
    assert found.features is not None
    assert found.features.margin[0] == pytest.approx(chances[0] - chances[1], abs=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_the_cut_changes_some_tokens_and_not_others(kind: Kind) -> None:
    """Else nothing here would test what it says. What the cut does not concern stays as it is."""
    same = []
    for seed in range(30):
        whole, cut = (answered(kind, Sampling(seed, 1.0), count)[0].tokens[0] for count in (None, 200))
        assert cut < 200
        assert cut == whole or whole >= 200
        same.append(cut == whole)
    assert 5 < sum(same) < 28


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sampling", SAMPLINGS, ids=str)
def test_who_wants_all_ids_gets_the_same_bits_beside_who_does_not(kind: Kind, sampling: Sampling) -> None:
    """All that comes of a distribution, bit by bit; and of two cuts the longer one counts for both."""
    alone = answered(kind, sampling, None, distributions=True)[0].distributions
    mixed = answered(kind, sampling, 64, None, 100, distributions=True)
    assert alone is not None
    for found in mixed:
        assert found.distributions is not None
        assert torch.equal(found.distributions, alone)
    two = answered(kind, sampling, 64, 100, features=True)
    assert two == answered(kind, sampling, 100, features=True) * 2


@pytest.mark.parametrize("kind", KINDS)
def test_reading_a_prompt_needs_no_ids(kind: Kind) -> None:
    """A work without answers beside one with a cut leaves it the cut."""
    engine = Engine(tiny(kind))
    for session in ("reads", "guesses"):
        engine.open(session, Sampling())
    works = [Work("reads", prompt(20), answers=0), Work("guesses", TEXT, vocabulary=64)]
    assert engine.step(works)[1] == answered(kind, Sampling(), 64)[0]
    assert engine.step([Work("reads", TEXT, answers=0)])[0].tokens == []


@pytest.mark.parametrize("kind", KINDS)
def test_more_ids_than_there_are_is_all(kind: Kind) -> None:
    for count in (SHAPE.vocabulary, SHAPE.vocabulary + 1, 10**6):
        assert answered(kind, SAMPLINGS[1], count, features=True) == answered(
            kind, SAMPLINGS[1], None, features=True
        )


@given(
    seed=st.integers(0, 2**64 - 1),
    count=st.integers(2, SHAPE.vocabulary),
    answers=st.integers(1, 9),
    temperature=st.sampled_from([0.0, 0.5, 1.0, 2.0]),
    kind=st.sampled_from(KINDS),
)
def test_any_cut_of_many_answers(seed: int, count: int, answers: int, temperature: float, kind: Kind) -> None:
    sampling = Sampling(seed, temperature)
    found = answered(kind, sampling, count, answers=answers)[0]
    places = range(len(TEXT) - answers + 1, len(TEXT) + 1)
    rows = [draft_reference.logits(tiny(kind), TEXT[:place])[:count] for place in places]
    expected = [reference.draw(row, sampling, place) for row, place in zip(rows, places, strict=True)]
    assert found.tokens == expected
