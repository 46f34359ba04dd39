"""The simulation catches deliberate bugs: here those that few seeds are enough for."""

import logging
from collections.abc import Iterator

import pytest

from tests.simulation.mutations import MUTATIONS, Mutation, hunt

SEEDS = 40


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """What roles log of faults is of no use here."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("mutation", [each for each in MUTATIONS if each.quick], ids=lambda each: each.name)
def test_a_deliberate_bug_is_caught(mutation: Mutation) -> None:
    assert hunt(mutation, SEEDS) is not None


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda each: each.name)
def test_a_deliberate_bug_can_be_applied(mutation: Mutation) -> None:
    with mutation.applied():
        pass


def test_a_mutation_of_what_is_not_there_is_refused() -> None:
    with (
        pytest.raises(ValueError, match="0 times"),
        Mutation("", "texts:follow", "no such", "text").applied(),
    ):
        pass
