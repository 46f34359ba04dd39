"""Which blocks a pass sees: pure rules, each by its own words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringroad.actors.engine import views
from ringroad.actors.engine.views import FIRST, Past, make

SHARES = st.lists(st.floats(0, 1), max_size=60)


@given(
    name=st.sampled_from(views.names()),
    blocks=st.integers(0, 60),
    room=st.integers(4, 40),
    now=SHARES,
    ever=SHARES,
)
def test_every_view_keeps_the_ends_within_its_room(
    name: str, blocks: int, room: int, now: list[float], ever: list[float]
) -> None:
    view = make(name, room)
    assert view is not None
    found = view.of(Past(blocks, now[:blocks], ever[:blocks]))
    assert found == sorted(set(found))
    assert len(found) <= room
    assert set(found) <= set(range(blocks))
    if blocks <= room:
        assert found == list(range(blocks))
    else:
        assert {*range(FIRST), blocks - 1} <= set(found)


def seen(name: str, past: Past, room: int = 8) -> list[int]:
    view = make(name, room)
    assert view is not None
    return view.of(past)


def test_a_window_is_the_beginning_and_the_end() -> None:
    assert seen("window", Past(20)) == [0, 13, 14, 15, 16, 17, 18, 19]


def test_what_is_relevant_now_and_what_was_heavy_ever() -> None:
    now = [0.0] * 20
    now[3], now[5], now[7], now[9] = 0.1, 0.4, 0.2, 0.3
    ever = [float(block) for block in range(15)]
    past = Past(20, now, ever)
    assert seen("relevant", past) == [0, 3, 5, 7, 9, 17, 18, 19]
    assert seen("heavy", past) == [0, 10, 11, 12, 13, 14, 18, 19]


@pytest.mark.parametrize("name", ["relevant", "heavy", "level"])
def test_before_anything_was_looked_at_they_are_windows(name: str) -> None:
    assert seen(name, Past(20)) == seen("window", Past(20))


def test_a_level_takes_as_few_as_hold_the_attention() -> None:
    """The ends are 0, 18 and 19, with a tenth of all; two more make 95 %, three 97 %."""
    ever = [0.0] * 20
    ever[0] = 10.0
    ever[4], ever[9], ever[11] = 60.0, 25.0, 2.0
    ever[12] = 3.0
    assert seen("level", Past(20, ever, ever)) == [0, 4, 9, 18, 19]
    ever[9] = 24.9
    assert seen("level", Past(20, ever, ever)) == [0, 4, 9, 12, 18, 19]
    assert len(seen("level", Past(20, ever, [1.0] * 20))) == 8, "no more than the room"


def test_all_is_no_view() -> None:
    assert make(views.ALL, 8) is None
    assert views.ALL not in views.names()
