"""How pauses are read off the times of a stream's events."""

from math import isnan

import pytest

from tests.chaos.pauses import Heard, normal_gap, pause, pauses, percentile

TIMES = [0.0, 0.1, 0.2, 0.3, 1.3, 1.4, 9.4]  # a second at 0.3, and eight of them at 1.4


@pytest.mark.parametrize(
    ("at", "window", "took"),
    [
        (0.35, 0.5, 0.9),  # within the gap
        (0.25, 0.5, 0.9),  # before it
        (0.05, 0.1, 0.0),  # before it, and over by then
        (0.35, 3.0, 7.9),  # the next one begins in the window, too
        (-0.1, 9.0, None),  # it had not begun
        (9.4, 1.0, None),  # nothing came any more
    ],
)
def test_the_gap_that_reaches_into_the_window_counts(at: float, window: float, took: float | None) -> None:
    assert pause(TIMES, at, window, 0.1) == (None if took is None else pytest.approx(took))


def test_what_is_normal_is_what_was_before() -> None:
    assert normal_gap(TIMES, 0.35, 7.0) == pytest.approx(0.1)
    assert normal_gap(TIMES, 0.25, 7.0) == 7.0  # two gaps only


def test_streams_that_say_that_they_were_struck_count_apart() -> None:
    by_usage, by_failure = Heard(0, TIMES, degraded=["verifier"]), Heard(1, TIMES, failures=[0.4])
    neither, before = Heard(2, TIMES, degraded=["drafter"]), Heard(3, TIMES, failures=[0.1])
    streams = [by_usage, by_failure, neither, before]
    everyone, struck = pauses(streams, 0.35, 0.5, ["verifier"], 0.1, 9.5)
    assert len(everyone) == 4
    assert struck == [pytest.approx(0.9)] * 2


def test_a_stream_that_still_waits_counts_and_one_that_ended_does_not() -> None:
    waits, ended = Heard(0, [0.0, 0.1, 0.2]), Heard(1, [0.0, 0.1, 0.2], over=True)
    everyone, _ = pauses([waits, ended], 0.3, 0.5, ["verifier"], 0.1, 5.2)
    assert everyone == [pytest.approx(4.9)]


def test_percentiles() -> None:
    values = [float(n) for n in range(100, 0, -1)]
    assert (percentile(values, 0.5), percentile(values, 0.99), percentile(values, 1.0)) == (51, 100, 100)
    assert isnan(percentile([], 0.5))
