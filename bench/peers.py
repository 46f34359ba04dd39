"""Ringroad against other systems on the same weights, machine and prompts, taking turns.

    python bench/peers.py [--only vllm vllm-draft ...] [--ways plain ...] [--prompts 20] [--add]

A group is one process of a peer, with one or several ways to decode; `large` and `speculative` of our
cluster take turns with them batch by batch, so a figure counts beside the others of its group alone.
Peers run from bf16 folders of the same dequantised weights, llama.cpp from the 4-bit files: beside it our
verifier runs in bf16 and once more in int4. Every cell (batch size, temperature) has prompts of its own, in
turn from all sets, and the cluster starts anew for every temperature: drafters remember recent texts.
Our cluster is stopped while a peer works, since an idle Ray takes a tenth of two cores; afterwards it
generates a little of a prompt that nobody measures, so that nothing cold is.
Rates leave out first tokens. Ratios are medians over the batches, at batch 1 means of the sets' medians.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import mean, median
from typing import Any

from harness import HERE, LOCAL, RESULTS, Changes, changed, cluster, console, heading, now, paused, write
from plots import axes, bars, level, save
from prompts import mixed
from rich.progress import track
from ways import Ask, Batch, Run, Runs, WorkerFailed, batches, once, over_grpc, rate, tokenized, worker

from ringroad.cluster.client import Client
from ringroad.cluster.config import load_config
from ringroad.cluster.models import cache_folder, locate

WORKERS, VENVS = HERE / "peers", HERE.parent / ".peers"
MODES = ("large", "speculative")
BF16: Mapping[str, Changes] = {"bf16": {}}
FOUR_BIT: Mapping[str, Changes] = {"bf16": {}, "int4": {"verifier": {"weights": "int4"}}}


@dataclass(frozen=True)
class Group:
    """A peer's process, and what it is compared with."""

    python: Path
    script: str
    arguments: tuple[str, ...]  # LARGE and SMALL stand for the models' folders or files
    ways: Mapping[str, tuple[int, ...]]  # by name, the batch sizes it can do
    clusters: Mapping[str, Changes]  # of ours, by name
    files: bool = False  # whether it reads GGUF files


VLLM, LLAMA = VENVS / "vllm/bin/python", VENVS / "llama/bin/python"
EVERY, SINGLE = (1, 8), (1,)
WARMING = 16  # tokens
GROUPS = {
    "vllm": Group(VLLM, "vllm_plain.py", ("LARGE",), {"plain": EVERY}, BF16),
    "vllm-draft": Group(
        VLLM,
        "vllm_plain.py",
        ("LARGE", "--speculative", "draft_model", "--draft-folder", "SMALL", "--k", "4"),
        {"draft": EVERY},
        BF16,
    ),
    "vllm-ngram": Group(
        VLLM, "vllm_plain.py", ("LARGE", "--speculative", "ngram", "--k", "4"), {"ngram": EVERY}, BF16
    ),
    "transformers": Group(
        Path(sys.executable),
        "transformers_ways.py",
        ("LARGE", "--draft-folder", "SMALL"),
        {"plain": EVERY, "assisted": SINGLE, "lookup": SINGLE},
        BF16,
    ),
    "llama": Group(
        LLAMA,
        "llama_ways.py",
        ("LARGE", "--draft-file", "SMALL"),
        {"plain": EVERY, "lookup": SINGLE, "draft": SINGLE},
        FOUR_BIT,
        files=True,
    ),
}
WAYS = sorted({way for group in GROUPS.values() for way in group.ways})


def command(group: Group, large: str, small: str) -> list[str | Path]:
    """What starts a peer."""

    def place(model: str) -> str:
        return str(locate(model) if group.files else cache_folder() / "peers" / model)

    places = {"LARGE": place(large), "SMALL": place(small)}
    return [
        group.python,
        WORKERS / group.script,
        *(places.get(argument, argument) for argument in group.arguments),
    ]


def by_set(runs: Runs, way: str, base: str, sets: list[str]) -> dict[str, float]:
    """Of single prompts, the median ratio of each set."""
    found: dict[str, list[float]] = {}
    for name, mine, other in zip(sets, runs[way], runs[base], strict=True):
        found.setdefault(name, []).append(mine.rate / other.rate)
    return {name: round(median(ratios), 3) for name, ratios in found.items()}


def ratios(runs: Runs, ours: list[str], sets: list[str]) -> dict[str, Any]:
    """Each of our ways over each of the peer's."""
    result: dict[str, Any] = {}
    for way in ours:
        for base in (name for name in runs if name not in ours):
            each = by_set(runs, way, base, sets)
            result[f"{way} / {base}"] = {"ratio": round(mean(each.values()), 3), "sets": each}
    return result


def rounds(
    ours: Mapping[str, Ask],
    theirs: Mapping[str, Ask],
    batches: Sequence[Batch],
    spare: Iterator[Batch],
    says: str,
) -> Runs:
    """Both sides in turn, a batch at a time. While peers work our cluster stands still."""
    found: list[dict[str, Run]] = []
    for turn, batch in enumerate(track(batches, says, transient=True)):
        both: dict[str, Run] = {}
        for side in (ours, theirs) if turn % 2 == 0 else (theirs, ours):
            with paused() if side is theirs else nullcontext():
                both |= once(side, batch, turn)
            if side is theirs:
                warmed(ours, next(spare))
        found.append(both)
    return {name: [both[name] for both in found] for name in (*ours, *theirs)}


def row(
    ours: Mapping[str, Ask],
    theirs: Mapping[str, Ask],
    batches: Sequence[Batch],
    spare: Iterator[Batch],
    sets: list[str],
) -> dict[str, Any]:
    """One batch size at one temperature. A peer's way that fails is left out; the row says why."""
    size, temperature = len(batches[0].prompts), batches[0].temperature
    warmed(ours, next(spare))
    failures = warmed(theirs, next(spare))
    working = {name: ask for name, ask in theirs.items() if name not in failures}
    runs = rounds(ours, working, batches, spare, f"batch {size}, temperature {temperature}")
    return {
        "batch": size,
        "temperature": temperature,
        "tokens_per_second": {name: round(rate(each), 2) for name, each in runs.items()},
        "ratios": ratios(runs, list(ours), sets),
        "failures": failures,
        "runs": {name: [run.figures() for run in each] for name, each in runs.items()},
    }


def warmed(ways: Mapping[str, Ask], batch: Batch) -> dict[str, str]:
    """Has every way generate this; the reasons of those that could not."""
    failures: dict[str, str] = {}
    for name, ask in ways.items():
        try:
            ask(batch)
        except WorkerFailed as failure:
            failures[name] = str(failure)
    return failures


def rows(name: str, args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """All of one group: the peer stays, our clusters change."""
    group, config = GROUPS[name], load_config(args.config)
    singles, eights = args.prompts, max(8, args.prompts // 8 * 8)
    spared = singles + 2, eights + 2 * 8
    prompts = mixed(singles + eights + sum(spared))
    measured, others = prompts[: singles + eights], prompts[singles + eights :]
    with worker(*command(group, config.verifier.model, config.drafter.model)) as way:
        asks = {
            f"{name} {each}": (way(**_named(group, each)), sizes)
            for each, sizes in group.ways.items()
            if args.ways is None or each in args.ways
        }
        for (weights, changes), temperature in product(group.clusters.items(), args.temperatures):
            with ExitStack() as stack:
                target, _ = stack.enter_context(cluster(stack.enter_context(changed(args.config, changes))))
                client = stack.enter_context(Client(target))
                ours = {mode: over_grpc(client, mode) for mode in MODES}
                for size, chosen, unseen in (
                    (1, measured[:singles], others[: spared[0]]),
                    (8, measured[singles:], others[spared[0] :]),
                ):
                    theirs = {each: ask for each, (ask, sizes) in asks.items() if size in sizes}
                    work = batches(tokenized(client, chosen), size, args.tokens, temperature)
                    sets = [prompt.set for prompt in chosen] if size == 1 else ["mixed"] * len(work)
                    spare = iter(batches(tokenized(client, unseen), size, WARMING, temperature))
                    found = {"group": name, "ours": weights, **row(ours, theirs, work, spare, sets)}
                    console.print({key: value for key, value in found.items() if key != "runs"})
                    yield found


def cell(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """What a row is about."""
    return tuple(row[key] for key in ("group", "ours", "batch", "temperature"))


def _named(group: Group, way: str) -> dict[str, str]:
    """How a request names a way: not at all where the process has only one."""
    return {"way": way} if len(group.ways) > 1 else {}


def plot(result: dict[str, Any], out: Path) -> None:
    """Our speculation over every peer, by batch and temperature."""
    figure, (at,) = axes(1, f"Speculative over peers, {result['date']}, {result['machine']}")
    found: dict[str, dict[str, float]] = {}
    for row in result["rows"]:
        cell = f"batch {row['batch']}, t {row['temperature']:g}"
        for pair, each in row["ratios"].items():
            way, _, peer = pair.partition(" / ")
            if way == "speculative":
                found.setdefault(f"{peer} ({row['ours']})", {})[cell] = each["ratio"]
    groups = list(dict.fromkeys(cell for each in found.values() for cell in each))
    bars(
        at,
        groups,
        {n: [each.get(g, float("nan")) for g in groups] for n, each in found.items()},
        "times as fast",
    )
    level(at, 1.0)
    save(figure, out)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=list(GROUPS), default=list(GROUPS))
    parser.add_argument("--ways", nargs="+", choices=WAYS)
    parser.add_argument("--temperatures", nargs="+", type=float, default=[0.0, 1.0])
    parser.add_argument("--prompts", type=int, default=20, help="for each figure; at batch 8, whole batches")
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--config", type=Path, default=LOCAL)
    parser.add_argument("--out", type=Path, default=RESULTS / "peers.json")
    parser.add_argument("--add", action="store_true", help="to the rows that the file has")
    return parser.parse_args()


def main() -> None:
    """Runs everything; bench/results/peers.json and .png grow with every group."""
    args, head = arguments(), heading()
    before = json.loads(args.out.read_text())["rows"] if args.add and args.out.exists() else []
    result: dict[str, Any] = {**head, "rows": before}
    for name in args.only:
        if not GROUPS[name].python.is_file():
            console.print(f"{name} is left out: there is no {GROUPS[name].python}")
            continue
        try:
            for found in rows(name, args):
                found |= {"prompts": args.prompts, "tokens_each": args.tokens, **head, "date": now()}
                result["rows"] = [each for each in result["rows"] if cell(each) != cell(found)] + [found]
                write(args.out, result)
                plot(result, args.out)
        except WorkerFailed as failure:
            console.print(f"{name} is given up: {failure}")


if __name__ == "__main__":
    main()
