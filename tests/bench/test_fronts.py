"""Figures of routers, against tables small enough to reckon by hand."""

from functools import partial

import numpy as np
import pytest
from fronts import REACH, Table, area, interval, recovered

# Settings small, large, and two between; four tasks of 10, 20, 30 and 40 tokens.
RIGHT = [[0, 0, 0, 1], [1, 1, 1, 1], [0, 0, 1, 1], [1, 1, 0, 1]]
LARGE = [[0, 0, 0, 0], [10, 20, 30, 40], [1, 2, 3, 4], [10, 0, 10, 0]]
TABLE = Table(np.array(RIGHT, float), np.array(LARGE, float), np.array([[10, 20, 30, 40]] * 4, float))
SMALL, BIG, LITTLE, MORE = range(4)


def test_shares_are_of_all_tokens_and_qualities_of_all_tasks() -> None:
    assert TABLE.share.tolist() == [0.0, 1.0, 0.1, 0.2]
    assert TABLE.quality.tolist() == [0.25, 1.0, 0.5, 0.75]


def test_some_tasks_are_a_table_too() -> None:
    some = TABLE.of(np.array([3, 0, 0]))
    assert some.right.tolist() == [[1, 0, 0], [1, 1, 1], [1, 0, 0], [1, 1, 1]]
    assert some.share.tolist() == pytest.approx([0, 1, 6 / 60, 20 / 60])
    assert some.quality.tolist() == pytest.approx([1 / 3, 1, 1 / 3, 1])


def test_what_is_recovered_is_of_the_gap() -> None:
    assert recovered(TABLE, SMALL, SMALL, BIG) == 0
    assert recovered(TABLE, BIG, SMALL, BIG) == 1
    assert recovered(TABLE, LITTLE, SMALL, BIG) == pytest.approx(1 / 3)
    assert recovered(TABLE, MORE, SMALL, BIG) == pytest.approx(2 / 3)


def test_more_than_the_gap_and_less_than_nothing_are_told() -> None:
    right = np.array([[0, 1, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [0, 0, 0, 0]], float)
    table = Table(right, TABLE.large, TABLE.tokens)
    assert recovered(table, 2, 0, 1) == pytest.approx(2)
    assert recovered(table, 3, 0, 1) == pytest.approx(-1)


def test_where_there_is_no_gap_nothing_is_recovered() -> None:
    assert recovered(TABLE.of(np.array([3])), LITTLE, SMALL, BIG) == 0


def by_hand(points: list[tuple[float, float]]) -> float:
    """The mean height up to REACH of straight lines between points, exactly: trapezes."""
    xs = [x for x, _ in points]
    ends = sorted({*(x for x in xs if x < REACH), 0.0, REACH})
    heights = np.interp(ends, xs, [y for _, y in points])
    return float(np.trapezoid(heights, ends) / REACH)


@pytest.mark.parametrize(
    ("front", "points"),
    [
        ([], [(0, 0.25), (1, 1)]),
        ([LITTLE], [(0, 0.25), (0.1, 0.5), (1, 1)]),
        ([MORE], [(0, 0.25), (0.2, 0.75), (1, 1)]),
        ([MORE, LITTLE], [(0, 0.25), (0.1, 0.5), (0.2, 0.75), (1, 1)]),
    ],
)
def test_the_area_is_that_under_straight_lines(front: list[int], points: list[tuple[float, float]]) -> None:
    assert area(TABLE, front, SMALL, BIG) == pytest.approx(by_hand(points), abs=2e-3)


def test_a_worse_setting_with_more_large_tokens_costs_nothing() -> None:
    """The dial need not be turned there."""
    table = Table(TABLE.right[[0, 1, 3, 2]], TABLE.large, TABLE.tokens)  # at 0.1 three right, at 0.2 two
    wanted = by_hand([(0, 0.25), (0.1, 0.75), (0.2, 0.75), (1, 1)])
    assert area(table, [LITTLE, MORE], SMALL, BIG) == pytest.approx(wanted, abs=2e-3)


def test_a_front_is_compared_up_to_its_reach_only() -> None:
    """What comes behind counts by the line that leads there."""
    large = TABLE.large.copy()
    large[MORE] = 0.9 * TABLE.tokens[MORE]
    far = Table(TABLE.right, large, TABLE.tokens)
    wanted = by_hand([(0, 0.25), (0.9, 0.75), (1, 1)])
    assert area(far, [MORE], SMALL, BIG) == pytest.approx(wanted, abs=2e-3)


def many(chance: float, count: int) -> Table:
    """Tasks that the large model always gets right, the small one by chance."""
    draw = np.random.default_rng(1)
    right = np.stack([draw.random(count) < chance, np.ones(count, bool)]).astype(float)
    tokens = np.full((2, count), 10.0)
    return Table(right, np.stack([np.zeros(count), tokens[1]]), tokens)


def test_an_interval_is_as_wide_as_the_binomial_law_has_it() -> None:
    table = many(0.3, 400)
    mean = float(table.quality[0])
    low, high = interval(table, lambda drawn: float(drawn.quality[0]))
    width = 1.96 * (mean * (1 - mean) / 400) ** 0.5
    assert low == pytest.approx(mean - width, abs=0.2 * width)
    assert high == pytest.approx(mean + width, abs=0.2 * width)
    assert low < 0.3 < high
    assert interval(table, lambda drawn: float(drawn.quality[0])) == (low, high), "the same each time"


def test_more_tasks_make_an_interval_narrow() -> None:
    few, lots = (interval(many(0.5, count), lambda t: float(t.quality[0])) for count in (30, 3000))
    assert lots[1] - lots[0] < 0.2 * (few[1] - few[0])
    assert few[0] < 0.5 < few[1]


def test_what_does_not_vary_has_no_width() -> None:
    assert interval(many(0.5, 50), lambda drawn: float(drawn.quality[1])) == (1.0, 1.0)


def test_settings_are_drawn_together() -> None:
    """By task: a setting that is always one better than another is surely better."""
    table = many(0.5, 100)
    both = Table(np.stack([table.right[0], table.right[0] + 1]), table.large, table.tokens)
    assert interval(both, lambda drawn: float(drawn.quality[1] - drawn.quality[0])) == pytest.approx((1, 1))
    assert interval(both, partial(recovered, at=1, small=0, large=1)) == pytest.approx((1, 1))
