"""Files of a stage: what is on disk is what was added, whatever moment the power went."""

import json
from pathlib import Path

import pytest

from ringroad.cluster.training.records import Records


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "stage" / "records.jsonl"


def contents(records: Records) -> list[tuple[str, dict[str, object]]]:
    return [(key, records[key]) for key in records]


def test_what_was_added_is_there_again_in_order(path: Path) -> None:
    records = Records(path)
    assert contents(records) == []
    for i in (3, 1, 2):
        records.add(f"set/{i}", tokens=[i, i + 1], text=f"ä\n\r\u2028 {i}")
    again = Records(path)
    assert contents(again) == contents(records)
    assert list(again) == ["set/3", "set/1", "set/2"]
    assert again["set/1"] == {"key": "set/1", "tokens": [1, 2], "text": "ä\n\r\u2028 1"}
    assert len(again) == 3
    assert "set/3" in again
    assert "set/4" not in again
    with pytest.raises(KeyError):
        again["set/4"]


def test_a_record_is_on_disk_when_it_is_added(path: Path) -> None:
    records = Records(path)
    for i in range(3):
        records.add(str(i), n=i)
        assert [json.loads(line) for line in path.read_text().splitlines()] == [
            {"key": str(n), "n": n} for n in range(i + 1)
        ]


def test_a_line_cut_short_at_any_place_goes_and_is_written_again(path: Path) -> None:
    records = Records(path)
    for i in range(3):
        records.add(f"set/{i}", text=f"é {i}")
    whole = path.read_bytes()
    two = len(b"".join(whole.splitlines(keepends=True)[:2]))
    for cut in range(two, len(whole)):
        path.write_bytes(whole[:cut])
        again = Records(path)
        assert list(again) == ["set/0", "set/1"]
        assert path.read_bytes() == whole[:two], "what is cut short is gone before anything follows"
        again.add("set/2", text="é 2")
        assert path.read_bytes() == whole
        assert contents(Records(path)) == contents(records)


def test_of_one_key_the_last_counts(path: Path) -> None:
    records = Records(path)
    records.add("a", n=1)
    records.add("b", n=2)
    records.add("a", n=3)
    for each in (records, Records(path)):
        assert len(each) == 2
        assert each["a"]["n"] == 3


def test_opening_changes_nothing_that_is_whole(path: Path) -> None:
    Records(path).add("a", n=1)
    whole = path.read_bytes()
    for _ in range(3):
        Records(path)
    assert path.read_bytes() == whole
