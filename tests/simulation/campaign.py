"""Many schedules on all cores, with what is done so far in a file: who is interrupted goes on there."""

import contextlib
import json
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from tests.simulation.oracles import run
from tests.simulation.schedule import drawn

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "bench" / "results" / "simulation.json"
BLOCK = 50  # schedules that are handed out together
PATIENCE = 300  # seconds of this machine for one schedule: one takes some hundredths of one


def prepare() -> None:
    """Of every process that simulates."""
    torch.set_num_threads(1)
    logging.disable(logging.CRITICAL)


def tried(seeds: Iterable[int]) -> dict[str, Any]:
    """What came of some seeds: how many schedules, faults by kind, and errors by seed."""
    faults: Counter[str] = Counter()
    requests = tokens = 0
    failed: dict[int, list[str]] = {}
    for seed in seeds:
        schedule = drawn(seed)
        faults.update(fault.kind for fault in schedule.faults)
        faults.update(["harsh"] * schedule.harsh)
        faults.update("cancel" for ask in schedule.asks if ask.cancelled is not None)
        requests += len(schedule.asks)
        try:
            with _patience():
                world = run(schedule)
        except TimeoutError:
            failed[seed] = [f"no end within {PATIENCE} s"]
            continue
        tokens += sum(len(reader.tokens) for reader in world.readers.values())
        if world.errors:
            failed[seed] = world.errors
    return {"faults": faults, "requests": requests, "tokens": tokens, "failed": failed}


def campaign(count: int, first: int, jobs: int, path: Path = RESULTS) -> int:
    """Runs `count` schedules from seed `first` on, or those of them that are left. How many failed."""
    done = _begun(path, count, first)
    blocks = [
        range(start, min(start + BLOCK, first + count))
        for start in range(first + done["schedules"], first + count, BLOCK)
    ]
    before, began = done["seconds"], time.monotonic()
    with _each(jobs) as each:
        for block, found in zip(blocks, each(tried, blocks), strict=True):
            done["schedules"] += len(block)
            done["requests"] += found["requests"]
            done["tokens"] += found["tokens"]
            done["seconds"] = round(before + time.monotonic() - began, 1)
            done["faults"] = dict(sorted((Counter(done["faults"]) + found["faults"]).items()))
            done["failed"] |= {str(seed): errors for seed, errors in found["failed"].items()}
            _keep(path, done)
            _tell(done, count)
    print(file=sys.stderr)  # noqa: T201
    return len(done["failed"])


@contextlib.contextmanager
def _each(jobs: int) -> Iterator[Any]:
    """A `map` in so many processes; one is this one."""
    if jobs == 1:
        yield map
        return
    with multiprocessing.get_context("spawn").Pool(jobs, prepare) as pool:
        yield pool.imap


def _begun(path: Path, count: int, first: int) -> dict[str, Any]:
    commit = _commit()
    fresh: dict[str, Any] = {"commit": commit, "first_seed": first, "wanted": count, "schedules": 0}
    if path.exists():
        known: dict[str, Any] = json.loads(path.read_text())
        left = known["schedules"] < count
        if left and {name: known[name] for name in ("commit", "first_seed")} == {
            "commit": commit,
            "first_seed": first,
        }:
            return known | {"wanted": count}
    more: dict[str, Any] = {"requests": 0, "tokens": 0, "seconds": 0.0, "faults": {}, "failed": {}}
    return fresh | more


def _commit() -> str:
    """What is simulated; results that are written meanwhile do not change it."""

    def git(*words: str) -> str:
        return subprocess.check_output(["git", *words], cwd=ROOT, text=True).strip()

    changed = git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!bench/results")
    return git("rev-parse", "--short", "HEAD") + ("-dirty" if changed else "")


def _keep(path: Path, done: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".part")
    date = datetime.now(UTC).strftime("%Y-%m-%d")
    new.write_text(json.dumps(done | {"date": date, "cores": os.cpu_count()}, indent=1) + "\n")
    new.replace(path)


def _tell(done: dict[str, Any], count: int) -> None:
    rate = done["schedules"] / max(done["seconds"], 0.1)
    text = f"\r{done['schedules']} of {count}, {rate:.0f} a second, {len(done['failed'])} failed"
    print(text, end="", file=sys.stderr, flush=True)  # noqa: T201


@contextlib.contextmanager
def _patience() -> Any:
    """Raises TimeoutError inside where it takes too long."""

    def late(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(PATIENCE)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
