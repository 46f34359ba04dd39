"""Who has the key can tell; who has another cannot."""

import math
from itertools import pairwise

import pytest
import torch
from scipy import stats

from ringroad.kernels.noise import gumbel
from ringroad.kernels.watermark import PERIOD, p_value, place
from tests import reference

SIZE = 50


def drawn(key: int, seed: int, count: int, position: int = 7) -> list[int]:
    """Tokens of one wide distribution, drawn with a key's noise."""
    logits = torch.randn(SIZE, generator=torch.Generator().manual_seed(1))
    places = [place(seed, position + at) for at in range(count)]
    return [int((logits + gumbel(key, where, SIZE)).argmax()) for where in places]


@pytest.mark.parametrize("seed", [0, 1000, 2**64 - 1])
def test_a_text_of_the_key_is_found(seed: int) -> None:
    tokens = drawn(9, seed, 60)
    assert p_value(tokens, 9, SIZE) < 1e-9
    assert p_value(tokens[13:50], 9, SIZE) < 1e-4
    assert p_value(tokens, 10, SIZE) > 1e-3


def test_more_tokens_tell_more() -> None:
    found = [p_value(drawn(9, 3, count), 9, SIZE) for count in (5, 10, 20, 40)]
    assert found[0] > 1e-3
    assert all(later < earlier for earlier, later in pairwise(found))


def test_other_texts_are_seldom_taken_for_it() -> None:
    """Of texts that know nothing of a key no more look like it than their p-values say."""
    found = [p_value(drawn(100 + key, key, 30), key, SIZE) for key in range(60)]
    assert sum(p < 0.5 for p in found) <= stats.binom.ppf(1 - 1e-6, len(found), 0.5)
    assert min(found) > 1e-5


def test_one_token_by_hand() -> None:
    """The best of all places in the key's noise, times their number."""
    best = max(-math.log(1 - math.exp(-math.exp(-reference.noise(4, at, 3)))) for at in range(PERIOD))
    assert p_value([3], 4, SIZE) == pytest.approx(min(1.0, PERIOD * math.exp(-best)), rel=1e-4)
    assert p_value([], 4, SIZE) == 1.0


def test_what_repeats_a_period_later_counts_once() -> None:
    once = drawn(9, 3, PERIOD)
    assert p_value([*once, *once[:40]], 8, SIZE) == p_value(once, 8, SIZE)
