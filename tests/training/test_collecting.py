"""Collecting with a tiny pair: every file says what stepping both models by hand says, interrupted or not."""

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ringroad.actors.engine.engine import Engine, Work
from ringroad.actors.engine.model import Model
from ringroad.actors.messages import Sampling
from ringroad.cluster.training import collecting
from ringroad.cluster.training.collecting import Collection
from ringroad.cluster.training.sentences import MOST, ends_sentence
from ringroad.cluster.training.tasks import Task
from ringroad.cluster.training.together import Course
from ringroad.kernels.head import TOPS
from tests import reference
from tests.engine.tiny import SHAPE, tiny
from tests.training.toys import ENDS, SHAKEN, pair, questions, tokenizer

TASKS = questions(5)
TOKENS = 14
LARGE, SMALL = tiny(), tiny(shaken=SHAKEN)
Contents = dict[str, dict[str, object]]


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Groups of two tasks."""
    monkeypatch.setattr(collecting, "WIDTH", 2)


def nothing(stage: str, done: int) -> None:
    """Tells nobody."""


def collected(folder: Path, tasks: Sequence[Task] = TASKS) -> Collection:
    Collection(folder).collect(tasks, pair(), TOKENS, nothing)
    return Collection(folder)


def contents(collection: Collection) -> tuple[Contents, Contents, dict[str, dict[str, Tensor]]]:
    """All that is on disk, by task."""
    answers, branches = collection.answers, collection.branches
    return (
        {key: answers[key] for key in sorted(answers)},
        {key: branches[key] for key in sorted(branches)},
        {task.name: collection.sights(task.name) for task in TASKS},
    )


def equal(one: Collection, other: Collection) -> bool:
    (answers, branches, seen), (others, other_branches, other_seen) = contents(one), contents(other)
    return (
        answers == others
        and branches == other_branches
        and seen.keys() == other_seen.keys()
        and all(
            seen[name].keys() == other_seen[name].keys()
            and all(torch.equal(tensor, other_seen[name][key]) for key, tensor in seen[name].items())
            for name in seen
        )
    )


@cache
def next_token(model: Model, text: tuple[int, ...]) -> int:
    return reference.plain_token(model, text, Sampling()).token


def asked(task: Task) -> list[int]:
    return tokenizer().encode_chat([{"role": "user", "content": task.question}])


def answer(task: Task) -> list[int]:
    """The large model's, one token at a time."""
    text, said = asked(task), []
    while len(said) < TOKENS and not (said and said[-1] in ENDS):
        said.append(next_token(LARGE, (*text, *said)))
    return said


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    """All tasks, without an interruption."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(collecting, "WIDTH", 2)
        return collected(tmp_path_factory.mktemp("whole"))


def test_answers_are_the_large_models(whole: Collection) -> None:
    assert {task.name: whole.answers[task.name]["tokens"] for task in TASKS} == {
        task.name: answer(task) for task in TASKS
    }
    lengths = {len(answer(task)) for task in TASKS}
    assert TOKENS in lengths
    assert min(lengths) < TOKENS, "some answers end by themselves"
    for task in TASKS:
        assert whole.answers[task.name]["text"] == tokenizer().decode(answer(task))


def test_sights_are_the_small_models_of_every_token(whole: Collection) -> None:
    for task in TASKS:
        said, seen = answer(task), whole.sights(task.name)
        assert seen["spoken"].tolist() == said
        assert seen["hidden"].shape == (len(said), SHAPE.width)
        assert seen["hidden"].dtype == torch.bfloat16
        assert seen["tops"].shape == (len(said), TOPS)
        for i in range(len(said)):
            text = [*asked(task), *said[:i]]
            engine = Engine(SMALL)
            engine.open("s", Sampling())
            engine.step([Work("s", text[:-1], answers=0)])
            outcome = engine.step([Work("s", text[-1:], features=True, sights=True)])[0]
            assert outcome.sights is not None
            assert outcome.features is not None
            assert seen["tokens"][i] == outcome.tokens[0]
            assert torch.equal(seen["hidden"][i], outcome.sights.hidden[0])
            assert torch.equal(seen["tops"][i], outcome.sights.tops[0])
            assert torch.equal(seen["tops"][i].sort(descending=True).values, seen["tops"][i])
            for name in ("margin", "entropy", "top"):
                assert seen[name][i].item() == pytest.approx(getattr(outcome.features, name)[0], abs=1e-6)


def test_mismatches_are_where_the_small_model_says_something_else(whole: Collection) -> None:
    all_places = []
    for task in TASKS:
        said = answer(task)
        places = [i for i in range(len(said)) if next_token(SMALL, (*asked(task), *said[:i])) != said[i]]
        assert whole.branches[task.name]["at"] == places
        all_places += places
    assert 3 < len(all_places) < sum(len(answer(task)) for task in TASKS) / 2


def ended(tokens: Sequence[int], before: int | None) -> bool:
    """Whether the last of some tokens ends their sentence, or they are as many as are looked at."""
    spelled = tokenizer().bytes_of
    behind = tokens[-2] if len(tokens) > 1 else before
    return len(tokens) == MOST or ends_sentence(
        spelled(tokens[-1]), b"" if behind is None else spelled(behind)
    )


def test_branches_are_both_sentences_as_the_large_model_ends_them(whole: Collection) -> None:
    lengths = set()
    for task in TASKS:
        said, text, found = answer(task), asked(task), whole.branches[task.name]
        assert len(found["large"]) == len(found["small"]) == len(found["at"])
        for place, large, small in zip(found["at"], found["large"], found["small"], strict=True):
            before = said[place - 1] if place else None
            other = [next_token(SMALL, (*text, *said[:place]))]
            while not ended(other, before) and other[-1] not in ENDS:
                other.append(next_token(LARGE, (*text, *said[:place], *other)))
            assert small == tokenizer().decode(other)
            own = said[place : place + 1]
            while not ended(own, before) and place + len(own) < len(said):
                own.append(said[place + len(own)])
            assert large == tokenizer().decode(own)
            lengths.add(len(other))
    assert len(lengths) > 2


def test_what_both_speak_is_the_routed_text_and_both_say_what_they_would(tmp_path: Path) -> None:
    courses = [Course(task, threshold) for task in TASKS[:3] for threshold in (0.0, 0.4, 1.1)]
    for some in (courses[:4], courses):  # interrupted, and gone on with
        Collection(tmp_path).follow(some, pair(), TOKENS, nothing)
    found, consulted = Collection(tmp_path), 0
    for course in courses:
        text, said = asked(course.task), list[int]()
        while len(said) < TOKENS and not (said and said[-1] in ENDS):
            sure = reference.plain_token(SMALL, [*text, *said], Sampling()).margin
            doubtful = 1 - sure >= course.threshold
            consulted += doubtful
            said.append(next_token(LARGE if doubtful else SMALL, (*text, *said)))
        assert found.courses[course.name]["tokens"] == said
        seen = found.sights(course.name)
        places = range(len(said))
        assert seen["spoken"].tolist() == [next_token(LARGE, (*text, *said[:i])) for i in places]
        assert seen["tokens"].tolist() == [next_token(SMALL, (*text, *said[:i])) for i in places]
    assert 0 < consulted < sum(len(found.courses[course.name]["tokens"]) for course in courses)


class Interrupted(Exception):
    """The power went."""


def until(calls: int) -> Callable[[str, int], None]:
    """Tells nobody, and raises when called so many times."""
    left = calls

    def tell(stage: str, done: int) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise Interrupted

    return tell


@pytest.mark.parametrize("calls", range(1, 3 * len(TASKS) + 1))
def test_interrupted_anywhere_it_goes_on_and_all_is_the_same(
    calls: int, whole: Collection, tmp_path: Path
) -> None:
    with pytest.raises(Interrupted):
        Collection(tmp_path).collect(TASKS, pair(), TOKENS, until(calls))
    assert equal(collected(tmp_path), whole)


def test_interrupted_again_and_again(whole: Collection, tmp_path: Path) -> None:
    """Each run gets a little further than the last, in the same process or another."""
    both = pair()
    for calls in range(2, 30, 3):
        try:
            Collection(tmp_path).collect(TASKS, both, TOKENS, until(calls))
        except Interrupted:
            continue
        break
    else:
        pytest.fail("never ended")
    assert equal(Collection(tmp_path), whole)


def test_what_was_cut_short_is_written_again(whole: Collection, tmp_path: Path) -> None:
    """In the middle of a line of either file, and of a file of sights."""
    collected(tmp_path, TASKS[:3])
    for name in ("answers", "branches"):
        path = tmp_path / f"{name}.jsonl"
        path.write_bytes(path.read_bytes()[:-7])
    sight = Collection(tmp_path).sight(TASKS[2].name)  # the last that was worked at
    sight.replace(sight.with_suffix(".part"))
    sight.with_suffix(".part").write_bytes(b"half of it")
    assert equal(collected(tmp_path), whole)


def test_a_file_of_sights_is_there_whole_or_not_at_all(
    whole: Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(tensors: dict[str, Tensor], path: Path) -> None:
        path.write_bytes(b"half of it")
        raise Interrupted

    with monkeypatch.context() as patch:
        patch.setattr(collecting, "save_file", half)
        with pytest.raises(Interrupted):
            collected(tmp_path)
    assert equal(collected(tmp_path), whole)


def test_what_is_done_is_not_done_again(whole: Collection, tmp_path: Path) -> None:
    collected(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    sizes = {path: path.stat().st_size for path in before}
    both = pair()
    for engine in (both.large, both.small):
        engine.step = None  # type: ignore[method-assign,assignment]
    Collection(tmp_path).collect(TASKS, both, TOKENS, nothing)
    assert sizes == {path: path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()}
    sights = [path for path in before if path.suffix == ".safetensors"]
    assert len(sights) == len(TASKS)
    assert all(path.stat().st_mtime_ns == before[path] for path in sights)


def test_more_tasks_later_change_nothing_of_those_before(whole: Collection, tmp_path: Path) -> None:
    collected(tmp_path, TASKS[3:])
    collected(tmp_path, TASKS[:1])
    assert equal(collected(tmp_path), whole)


def test_progress_is_told_group_by_group(tmp_path: Path) -> None:
    """A group's stages all end before the next group begins: what they share is still in the cache."""
    told: list[tuple[str, int]] = []
    Collection(tmp_path).collect(TASKS, pair(), TOKENS, lambda *each: told.append(each))
    stages = [
        (stage, done)
        for first, last in ((1, 2), (3, 4), (5, 5))
        for stage in ("answers", "sights", "branches")
        for done in range(first, last + 1)
    ]
    assert told == stages


def test_a_pair_asks_as_it_is_served() -> None:
    assert pair().prompt(TASKS[2]) == asked(TASKS[2])
