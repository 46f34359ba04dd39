"""Which tasks are learnt from, and what is learnt of them."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from ringroad.cluster.training.collecting import Collection
from ringroad.cluster.training.fitting import examples, held_out
from ringroad.cluster.training.records import Records
from ringroad.cluster.training.tasks import Task
from ringroad.cluster.training.together import Course
from ringroad.kernels.head import TOPS

WIDTH = 24


def test_a_tasks_side_is_its_names_alone() -> None:
    """So more tasks, in any order, put no task that was learnt from among those that judge."""
    names = [f"{of}/{i}" for of in ("gcd", "lcm", "gsm8k", "talk") for i in range(1000)]
    kept = {name for name in names if held_out(Task(name, "?", "none"))}
    assert kept == {name for name in reversed(names) if held_out(Task(name, "another", "exact", "1"))}
    assert 0.13 < len(kept) / len(names) < 0.17
    for of in ("gcd", "lcm", "gsm8k", "talk"):
        assert 0.1 < sum(name.startswith(of) for name in kept) / 1000 < 0.2
    # Heads that are shipped were learnt from the others.
    assert [i for i in range(60) if held_out(Task(f"gcd/{i}", "?", "none"))] == [8, 20, 30, 35, 40, 54]


@pytest.fixture
def stages(tmp_path: Path) -> tuple[Collection, Records, list[Task]]:
    """What two tasks have left: five tokens and three, two mismatches and none."""
    collection, labels = Collection(tmp_path), Records(tmp_path / "labels.jsonl")
    tasks = [Task("toy/0", "?", "none"), Task("toy/1", "?", "none")]
    for task, rows, at in zip(tasks, (5, 3), ([1, 3], []), strict=True):
        spoken = torch.arange(rows)
        tokens = spoken.clone()
        tokens[at] += 100
        tensors: dict[str, Tensor] = {
            "hidden": torch.full((rows, WIDTH), float(rows)).bfloat16(),
            "tops": torch.full((rows, TOPS), float(rows)),
            "tokens": tokens,
            "spoken": spoken,
            **{name: torch.rand(rows) for name in ("margin", "entropy", "top")},
        }
        collection.sight(task.name).parent.mkdir(exist_ok=True)
        save_file(tensors, collection.sight(task.name))
        collection.branches.add(task.name, at=at, large=["a"] * len(at), small=["b"] * len(at))
        labels.add(task.name, differs=[False, True][: len(at)])
    return collection, labels, tasks


def test_examples_are_all_tokens_of_all_tasks(stages: tuple[Collection, Records, list[Task]]) -> None:
    collection, labels, tasks = stages
    found = examples(collection, labels, tasks)
    assert len(found) == 8
    assert found.seen.hidden[:, 0].tolist() == [5, 5, 5, 5, 5, 3, 3, 3]
    assert found.seen.tokens.tolist() == [0, 101, 2, 103, 4, 0, 1, 2]
    assert found.differs.nonzero().flatten().tolist() == [1, 3]
    assert found.matters.nonzero().flatten().tolist() == [3], "of two mismatches one matters"
    assert found.features.top == [each for t in tasks for each in collection.sights(t.name)["top"].tolist()]
    both = Course(tasks[0], 0.5)
    save_file(collection.sights(tasks[0].name), collection.sight(both.name))
    more = examples(collection, labels, tasks, [both])
    assert len(more) == 13
    assert more.differs.nonzero().flatten().tolist() == [1, 3, 9, 11]
    assert more.matters.nonzero().flatten().tolist() == [3], "nobody has judged"
    for figure in (101, 1):  # the small model's, or the large one's
        told = examples(collection, labels, tasks, [both], figures={figure})
        assert told.matters.nonzero().flatten().tolist() == [3, 9]
    seen, matters = found.rows(torch.tensor([3, 6]))
    assert (seen.tokens.tolist(), matters.tolist()) == ([103, 1], [True, False])
