"""The simulation catches deliberate bugs: here those that few seeds are enough for."""

import pytest

from tests.simulation.hunting import Mutation, hunt
from tests.simulation.mutations import MUTATIONS

SEEDS = 40


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
