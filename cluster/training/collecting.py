"""From tasks to what a head learns from: answers, what the small model saw of them, and where it would have
gone instead (R2R, Fu et al. 2025, section 4.1)."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TypeVar

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ringroad.actors.engine.engine import Engine, Work
from ringroad.actors.messages import Sampling
from ringroad.actors.tokenizer import Tokenizer
from ringroad.cluster.training.records import Records
from ringroad.cluster.training.sentences import MOST, ends_sentence, sentence
from ringroad.cluster.training.speaking import WIDTH, Ask, Script, continued, play
from ringroad.cluster.training.tasks import Task
from ringroad.cluster.training.together import Course, spoken

Item = TypeVar("Item")
Tell = Callable[[str, int], None]  # a stage, and how many tasks it has behind it


@dataclass(frozen=True)
class Pair:
    """Both models, in one process."""

    large: Engine
    small: Engine
    tokenizer: Tokenizer

    def prompt(self, task: Task) -> list[int]:
        """A task as both models are asked it."""
        return self.tokenizer.encode_chat([{"role": "user", "content": task.question}])


class Collection:
    """A folder with a file for each stage; every stage goes on where it was interrupted."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.answers = Records(folder / "answers.jsonl")  # tokens the large model answers with
        self.branches = Records(folder / "branches.jsonl")  # for each mismatch both sentences
        self.courses = Records(folder / "courses.jsonl")  # tokens that both models spoke

    def sight(self, name: str) -> Path:
        """Where the small model would have said something else: tensors for each token of a task's answer, or
        of a course."""
        return self._folder / "sights" / f"{name.replace('/', '-')}.safetensors"

    def sights(self, name: str) -> dict[str, Tensor]:
        """`hidden` [n, width] bf16, `tops` [n, TOPS] fp32, `tokens` [n] int64 that the small model would have
        spoken and `spoken` [n] int64 that the large one, `margin`, `entropy` and `top` [n] fp32."""
        return load_file(self.sight(name))

    def collect(self, tasks: Sequence[Task], pair: Pair, most: int, tell: Tell) -> None:
        """Runs all stages for all tasks, so many at a time that what they share stays in the cache."""
        left = [task for task in tasks if task.name not in self.branches]
        watched = len(tasks) - len(left)
        for group in _groups(left, WIDTH):
            self._answer([task for task in group if task.name not in self.answers], pair, most, tell)
            for task in group:
                if not self.sight(task.name).exists():
                    self._watch(task, pair)
                watched += 1
                tell("sights", watched)
            self._branch(group, pair, tell)

    def follow(self, courses: Sequence[Course], pair: Pair, most: int, tell: Tell) -> None:
        """The texts that both models speak, and what each of them says of every token."""
        left = [course for course in courses if course.name not in self.courses]
        prompts = [pair.prompt(course.task) for course in left]
        scripts = (
            spoken(prompt, course.threshold, pair.tokenizer.ends, most)
            for prompt, course in zip(prompts, left, strict=True)
        )
        for at, said in play([pair.large, pair.small], scripts):
            text = [*prompts[at], *said[:-1]]
            pair.large.open("reads", Sampling())
            large = pair.large.step([Work("reads", text, answers=len(said))])[0]
            pair.large.close("reads")
            self._see(left[at].name, pair, text, large.tokens)
            self.courses.add(left[at].name, tokens=said, text=pair.tokenizer.decode(said))
            tell("courses", len(self.courses))

    def _answer(self, tasks: Sequence[Task], pair: Pair, most: int, tell: Tell) -> None:
        scripts = (continued(pair.prompt(task), pair.tokenizer.ends, most) for task in tasks)
        for at, tokens in play([pair.large], scripts):
            self.answers.add(tasks[at].name, tokens=tokens, text=pair.tokenizer.decode(tokens))
            tell("answers", len(self.answers))

    def _watch(self, task: Task, pair: Pair) -> None:
        """The small model reads the large one's answer."""
        said = self.answers[task.name]["tokens"]
        self._see(task.name, pair, [*pair.prompt(task), *said[:-1]], said)

    def _see(self, name: str, pair: Pair, text: Sequence[int], large: Sequence[int]) -> None:
        """What the small model would say of a text's end, where the large one says `large`."""
        pair.small.open("sees", Sampling())
        work = Work("sees", text, answers=len(large), features=True, sights=True)
        outcome = pair.small.step([work])[0]
        pair.small.close("sees")
        seen = outcome.sights
        assert seen is not None
        tensors = {"hidden": seen.hidden, "tops": seen.tops, "tokens": seen.tokens}
        tensors["spoken"] = torch.tensor(large)
        for feature in ("margin", "entropy", "top"):
            tensors[feature] = torch.tensor(getattr(outcome.features, feature))
        path = self.sight(name)
        path.parent.mkdir(exist_ok=True)
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path.with_suffix(".part"))
        path.with_suffix(".part").replace(path)

    def _branch(self, tasks: Sequence[Task], pair: Pair, tell: Tell) -> None:
        forks = [
            Fork(pair, pair.prompt(task), self.answers[task.name]["tokens"], self.sights(task.name))
            for task in tasks
        ]
        decode = pair.tokenizer.decode
        for at, said in play([pair.large], (fork.script() for fork in forks)):
            places = forks[at].places
            large, small = [decode(forks[at].own(place)) for place in places], [decode(each) for each in said]
            self.branches.add(tasks[at].name, at=places, large=large, small=small)
            tell("branches", len(self.branches))


@dataclass(frozen=True)
class Fork:
    """An answer, and the places at which the small model would have gone another way."""

    pair: Pair
    prompt: list[int]
    answer: list[int]
    sights: dict[str, Tensor]

    @cached_property
    def places(self) -> list[int]:
        """Indices into the answer."""
        differs: list[int] = (self.sights["tokens"] != self.sights["spoken"]).nonzero().flatten().tolist()
        return differs

    def own(self, place: int) -> list[int]:
        """The answer's own sentence from a place on."""
        before = self.pair.tokenizer.bytes_of(self.answer[place - 1]) if place else b""
        return sentence(self.answer[place:], self.pair.tokenizer.bytes_of, before)

    def script(self) -> Script[list[list[int]]]:
        """The large model ends each sentence that the small one's word begins. The last place first, so that
        what was read for one serves the next."""
        found: list[list[int]] = []
        bytes_of, ends = self.pair.tokenizer.bytes_of, self.pair.tokenizer.ends
        for place in reversed(self.places):
            begun = [*self.prompt, *self.answer[:place]]
            said = [int(self.sights["tokens"][place])]
            before = bytes_of(self.answer[place - 1]) if place else b""
            while len(said) < MOST and said[-1] not in ends and not ends_sentence(bytes_of(said[-1]), before):
                before = bytes_of(said[-1])
                outcome = yield Ask([*begun, *said])
                said += outcome.tokens
            found.insert(0, said)
        return found


def _groups(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    left = iter(items)
    while group := list(islice(left, size)):
        yield group
