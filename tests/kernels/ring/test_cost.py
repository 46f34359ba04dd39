"""The cost model: what it adds up, and what it picks."""

import pytest
import torch

from ringroad.kernels.ring.cost import SCHEDULES, Cost, Device, Link, Shape, cheapest, cost
from ringroad.kernels.ring.layout import dealt, zigzag
from ringroad.kernels.ring.wire import Heads

GROUPED = Heads(28, 4, 128, torch.bfloat16)
ALIKE = Heads(32, 32, 128, torch.bfloat16)
LINK, DEVICE = Link(100e9, 1e-5), Device(400e12, 2e12)


def test_two_ranks_by_hand() -> None:
    """8 positions, two ranks with 4 keys each, heads of one number: every figure by pencil."""
    shape = Shape(Heads(1, 1, 1, torch.float32), zigzag(8, 2), 0, 8)
    assert shape.pairs == [[3 + 7, 8], [8, 7 + 3]] == [[10, 8], [8, 10]]
    slow, far = Device(4.0, 1e9), Link(16.0, 1.0)  # a pair a second; half a position's key and value
    # Keys of 4 positions are 32 bytes, 2 s and one of latency; the first blocks take 10 s, the second 8.
    assert cost("pass_kv", shape, far, slow) == Cost(18.0, 18.0, 3.0, 32)
    # Queries of 4 rows are 16 bytes, 2 s, hidden. Partials are 32, 3 s, after the last block.
    assert cost("pass_q", shape, far, slow) == Cost(21.0, 18.0, 5.0, 48)
    # Of rank 0's queries the last two travel, all of rank 1's; rank 0 sends the partials of the latter.
    assert cost("token_ring", shape, far, slow) == Cost(21.0, 18.0, 4.5, 8 + 32)


def test_what_a_rank_sends_leaves_it_one_after_the_other() -> None:
    """One row of rank 0 over 6 keys of three ranks, with 1 s for a query, 2 for a partial, 1 for a block."""
    shape = Shape(Heads(1, 1, 1, torch.float32), dealt(3, 1), 5, 6)
    assert shape.rows == [1, 0, 0]
    # Rank 1 has the query at 1 and is done at 2, its partial is there at 4; rank 2 is a second behind.
    assert cost("pass_q", shape, Link(4.0, 0.0), Device(8.0, 1e9)).total == 5.0


def test_reading_keys_bounds_a_few_rows() -> None:
    shape = Shape(GROUPED, dealt(4, 64), 131072 - 8, 131072)
    read = 131072 / 4 * GROUPED.key_value_bytes / DEVICE.bytes_per_second
    # The rank with the rows reads the others' keys, too, or every rank its own, all at once.
    assert cost("pass_kv", shape, LINK, DEVICE).computing == pytest.approx(4 * read)
    assert read < cost("pass_q", shape, LINK, DEVICE).total < read + 3 * LINK.latency
    # Neighbour by neighbour they are on their way for longer.
    assert cost("token_ring", shape, LINK, DEVICE).total > read + 4 * LINK.latency


@pytest.mark.parametrize("heads", [GROUPED, ALIKE])
def test_few_rows_over_many_keys_travel_themselves(heads: Heads) -> None:
    shape = Shape(heads, dealt(4, 64), 131072 - 8, 131072)
    assert cheapest(shape, LINK, DEVICE) == "pass_q"


def test_many_rows_stay_where_heads_of_keys_are_few() -> None:
    """Where moving decides: keys are shared by 7 heads of queries, or by none."""
    slow = Link(1e9, 1e-5)
    costs = {way: cost(way, Shape(GROUPED, zigzag(32768, 4), 0, 32768), slow, DEVICE) for way in SCHEDULES}
    assert cheapest(Shape(GROUPED, zigzag(32768, 4), 0, 32768), slow, DEVICE) == "pass_kv"
    assert costs["token_ring"].bytes > 3 * costs["pass_kv"].bytes
    # Over a long prefix it is the queries that are few, whatever the heads.
    assert cheapest(Shape(ALIKE, dealt(4, 64), 126976, 131072), slow, DEVICE) != "pass_kv"


def test_more_of_it_hides_where_the_text_is_longer() -> None:
    shares = [cost("pass_kv", Shape(GROUPED, zigzag(n, 8), 0, n), LINK, DEVICE).hidden for n in (2048, 65536)]
    assert shares[0] < 0.5
    assert shares[1] == 1.0


def test_one_rank_waits_for_nobody() -> None:
    found = cost("token_ring", Shape(GROUPED, zigzag(64, 1), 0, 64), LINK, DEVICE)
    assert (found.moving, found.hidden, found.bytes) == (0.0, 1.0, 0)
    assert found.total == found.computing


def test_an_unknown_schedule_is_refused() -> None:
    with pytest.raises(ValueError, match="no schedule 'pass'"):
        cost("pass", Shape(GROUPED, zigzag(64, 2), 0, 64), LINK, DEVICE)
