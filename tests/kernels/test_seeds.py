"""Seeds of samples: the numbers of docs/noise.md."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringroad.kernels.seeds import seed_of
from tests import reference

DOC = Path(__file__).parents[2] / "docs" / "noise.md"
ROWS = [
    tuple(map(int, row)) for row in re.findall(r"^- seed (\d+), sample (\d+): (\d+)$", DOC.read_text(), re.M)
]


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_numbers_of_the_page(row: tuple[int, int, int]) -> None:
    assert len(ROWS) == 4
    assert seed_of(*row[:2]) == row[2]


@given(st.integers(0, 2**64 - 1), st.integers(1, 15))
def test_as_the_reference_has_it(seed: int, sample: int) -> None:
    assert seed_of(seed, sample) == reference.philox((1, 0, 0, 0), (seed, sample))[0]
    assert seed_of(seed, 0) == seed
