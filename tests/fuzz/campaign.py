"""Many seeds, with what is done so far in a file: who is interrupted goes on there."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from tests.fuzz.parsers import Case, drawn, judged

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "bench" / "results" / "fuzz.json"
BLOCK = 5000  # seeds between two notes of what is done
PATIENCE = 20.0  # seconds of the processor for a case; one takes some hundred microseconds


def failure(case: Case) -> str:
    """What is wrong with what came of a case; empty where nothing is."""
    try:
        with _patience():
            judged(case)
    except Exception as error:  # noqa: BLE001 - any at all is a finding
        return f"{type(error).__name__}: {error}"[:300]
    return ""


def smallest(case: Case) -> Case:
    """A case as short as can be found that fails with the same kind of error."""
    kind = failure(case).partition(":")[0]
    size = max(1, len(case.data) // 2)
    while size:
        at = 0
        while at < len(case.data):
            shorter = Case(case.kind, case.data[:at] + case.data[at + size :])
            if failure(shorter).partition(":")[0] == kind:
                case = shorter
            else:
                at += size
        size //= 2
    return case


def campaign(count: int, first: int, path: Path = RESULTS) -> int:
    """Tries `count` seeds from `first` on, or those of them that are left. How many failed."""
    done = begun(path, "parsers", count, first)
    process, spent = psutil.Process(), done["seconds"]
    began = time.process_time()
    for start in range(first + done["cases"], first + count, BLOCK):
        seeds = range(start, min(start + BLOCK, first + count))
        outcomes: Counter[str] = Counter()
        for seed in seeds:
            try:
                with _patience():
                    case = drawn(seed)
                    outcomes[f"{case.kind} {judged(case)}"] += 1
            except Exception as error:  # noqa: BLE001 - any at all is a finding
                done["failed"][str(seed)] = f"{type(error).__name__}: {error}"[:300]
        done["cases"] += len(seeds)
        done["outcomes"] = dict(sorted((Counter(done["outcomes"]) + outcomes).items()))
        done["seconds"] = round(spent + time.process_time() - began, 1)
        done["megabytes"].append(round(process.memory_info().rss / 1e6, 1))
        done["descriptors"].append(process.num_fds())
        keep(path, "parsers", done)
        tell(f"{done['cases']} of {count}, {done['seconds']:.0f} s, {len(done['failed'])} failed")
    return len(done["failed"])


def begun(path: Path, part: str, count: int, first: int) -> dict[str, Any]:
    """What is done of a part, if the code is the same; else nothing is."""
    same = {"commit": _commit(), "first_seed": first}
    fresh: dict[str, Any] = {"cases": 0, "seconds": 0.0, "outcomes": {}, "failed": {}}
    fresh |= same | {"wanted": count, "megabytes": [], "descriptors": []}
    known: dict[str, Any] = json.loads(path.read_text()).get(part, {}) if path.exists() else {}
    goes_on = known.get("cases", 0) < count and all(known.get(name) == value for name, value in same.items())
    return known | {"wanted": count} if goes_on else fresh


def keep(path: Path, part: str, done: dict[str, Any]) -> None:
    """Writes what is done of one part and leaves the others."""
    path.parent.mkdir(parents=True, exist_ok=True)
    known = json.loads(path.read_text()) if path.exists() else {}
    date = datetime.now(UTC).strftime("%Y-%m-%d")
    new = path.with_suffix(".part")
    new.write_text(
        json.dumps(known | {part: done | {"date": date, "cores": os.cpu_count()}}, indent=1) + "\n"
    )
    new.replace(path)


def tell(text: str) -> None:
    """How far it is, on one line."""
    print(f"\r{text}", end="", file=sys.stderr, flush=True)  # noqa: T201


def _commit() -> str:
    """Which parsers are tried: the last change of what this reads."""
    places = ["actors/gateway", "actors/grammars.py", "actors/tokenizer.py", "tests/fuzz", "protos"]

    def git(*words: str) -> str:
        return subprocess.check_output(["git", *words, "--", *places], cwd=ROOT, text=True).strip()

    changed = git("status", "--porcelain", "--untracked-files=no")
    return git("log", "-1", "--format=%h") + ("-dirty" if changed else "")


@contextlib.contextmanager
def _patience() -> Iterator[None]:
    """Raises TimeoutError inside where it takes too much of the processor, whatever else runs."""

    def late(*_: object) -> None:
        raise TimeoutError

    before: Callable[..., Any] | int | None = signal.signal(signal.SIGVTALRM, late)
    signal.setitimer(signal.ITIMER_VIRTUAL, PATIENCE)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
