"""Who owns which position: everyone has one owner, and all owners have as much to do and to hold."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ringroad.kernels.ring.layout import Layout, alone, dealt, needed, work, zigzag

RANKS = (1, 2, 3, 4, 8)


def layouts(length: int, ranks: int, block: int) -> list[Layout]:
    return [zigzag(length, ranks), dealt(ranks, block), alone(ranks - 1, ranks)]


@given(st.integers(1, 200), st.sampled_from(RANKS), st.integers(1, 20), st.data())
def test_positions_owners_and_places_agree(length: int, ranks: int, block: int, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, length))
    for layout in layouts(length, ranks, block):
        owners = [layout.owner(position) for position in range(length)]
        for rank in range(ranks):
            mine = [position for position in range(length) if owners[position] == rank]
            assert layout.positions(rank, start, length).tolist() == [p for p in mine if p >= start]
            assert layout.count(rank, start) == sum(p < start for p in mine)
            assert [layout.local(position) for position in mine] == list(range(len(mine)))
        everyone = torch.arange(length)
        assert layout.owner(everyone).tolist() == owners
        assert layout.local(everyone).tolist() == [layout.local(position) for position in range(length)]
        assert layout.count(0, everyone).tolist() == [layout.count(0, position) for position in range(length)]


@given(st.integers(0, 200), st.sampled_from(RANKS))
def test_zigzag_gives_two_chunks_of_nearly_one_size(length: int, ranks: int) -> None:
    layout = zigzag(length, ranks)
    owners = [layout.owner(position) for position in range(length)]
    chunks = [length * (k + 1) // (2 * ranks) - length * k // (2 * ranks) for k in range(2 * ranks)]
    assert max(chunks) - min(chunks) <= 1
    ends = [sum(chunks[:k]) for k in range(2 * ranks)]
    for k, (end, size) in enumerate(zip(ends, chunks, strict=True)):
        assert set(owners[end : end + size]) <= {min(k, 2 * ranks - 1 - k)}


def test_dealing_goes_forth_and_back_and_does_not_know_the_length() -> None:
    layout = dealt(3, 2)
    assert [layout.owner(position) for position in range(14)] == [0, 0, 1, 1, 2, 2, 2, 2, 1, 1, 0, 0, 0, 0]
    assert layout.positions(1, 0, 9).tolist() == [2, 3, 8]


@pytest.mark.parametrize("ranks", RANKS)
@pytest.mark.parametrize("extra", [0, 1, 7])
def test_causal_work_is_equal_within_two_in_a_hundred(ranks: int, extra: int) -> None:
    """For zigzag at any length from 200 positions a rank on, for blocks at whole laps forth and back."""
    for layout, length in (
        (zigzag(200 * ranks + extra, ranks), 200 * ranks + extra),
        (dealt(ranks, 32), 256 * ranks),
    ):
        pairs = torch.tensor(work(layout, 0, length), dtype=torch.float64)
        assert pairs.sum() == length * (length + 1) / 2
        for share in (pairs.sum(0), pairs.sum(1)):
            assert (share / share.mean() - 1).abs().max() <= 0.02


@given(st.integers(1, 60), st.integers(1, 60), st.sampled_from(RANKS), st.integers(1, 9))
def test_work_and_needed_count_what_rows_see(start: int, rows: int, ranks: int, block: int) -> None:
    for layout in layouts(start + rows, ranks, block):
        pairs, wanted = work(layout, start, start + rows), needed(layout, start, start + rows)
        for i in range(ranks):
            mine = layout.positions(i, start, start + rows).tolist()
            for j in range(ranks):
                keys = layout.positions(j, 0, start + rows).tolist()
                seen = [sum(key <= row for key in keys) for row in mine]
                assert pairs[i][j] == sum(seen)
                assert wanted[i][j] == sum(count > 0 for count in seen)


@pytest.mark.parametrize("ranks", RANKS)
def test_a_rank_holds_little_more_than_its_share(ranks: int) -> None:
    for length in (4000, 4001, 8192, 131072):
        for layout in (zigzag(length, ranks), dealt(ranks, 16)):
            assert max(layout.count(rank, length) for rank in range(ranks)) <= length / ranks * 1.05


def test_long_texts_are_laid_out_at_once() -> None:
    assert sum(len(dealt(8, 64).positions(rank, 0, 2**17)) for rank in range(8)) == 2**17
    assert len(zigzag(2**17, 8).owner(torch.arange(2**17))) == 2**17


def test_what_cannot_be_laid_out_is_refused() -> None:
    for refused in (lambda: dealt(0, 4), lambda: dealt(2, 0), lambda: zigzag(4, 0), lambda: alone(2, 2)):
        with pytest.raises(ValueError, match="no "):
            refused()
    for beyond in (lambda: zigzag(8, 2).owner(8), lambda: zigzag(8, 2).positions(0, 0, 9)):
        with pytest.raises(ValueError, match="no position"):
            beyond()
