"""Every drafter over the whole cluster, by temperature and by how many requests run at once.

    python bench/speculation.py [--only default suffix] [--temperatures 0 0.7 1] [--concurrency 1 4 8 16 32]

Each configuration of bench/configurations.toml is measured over gRPC against `large` in the same
cluster, the two taking turns on the same prompts and seeds: tokens per second, accepted guesses per
consult, and whether the texts are equal. The cluster starts anew for every temperature and no prompt
is used twice in between, else drafters that remember recent texts would know the answers. Figures are
medians over the batches; at concurrency n there are at least --prompts prompts in batches of n. `ratio`
includes the ends of batches, where the slowest texts run alone; `ratio_while_all_run` does not.
"""

import argparse
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

from harness import HERE, LOCAL, RESULTS, Changes, changed, cluster, console, heading, write
from plots import axes, level, lines, save
from prompts import mixed
from ways import Batch, Ids, Runs, batches, full_ratio, measure, over_grpc, rate, ratio, same_texts, tokenized

from ringroad.cluster.client import Client
from ringroad.cluster.config import load_config

MODES = ("large", "speculative")
NEVER_BELOW = 0.97  # of own plain decoding, at any load


def known() -> dict[str, Changes]:
    """The configurations by name."""
    return tomllib.loads((HERE / "configurations.toml").read_text())


def shares(prompts: list[Ids], concurrency: list[int], at_least: int) -> Iterator[tuple[int, list[Ids]]]:
    """For each concurrency prompts of its own: whole batches."""
    start = 0
    for size in concurrency:
        count = needed(size, at_least)
        yield size, prompts[start : start + count]
        start += count


def needed(size: int, at_least: int) -> int:
    """The prompts of at least so many that fill batches of a size.

    Two batches or more: turns must alternate, since who comes second finds the prompts in the cache.
    """
    return max(2, -(-at_least // size)) * size


def summary(runs: Runs) -> dict[str, Any]:
    """One row of the table."""
    same, texts = same_texts(runs, "speculative", "large")
    speculative = runs["speculative"]
    return {
        "tokens_per_second": {mode: round(rate(runs[mode]), 2) for mode in MODES},
        "ratio": round(ratio(runs, "speculative", "large"), 3),
        "ratio_while_all_run": full_ratio(runs, "speculative", "large"),
        "accepted_per_consult": round(median(run.accepted_per_consult for run in speculative), 2),
        "consults_per_token": round(median(run.consults_per_token for run in speculative), 3),
        "equal_texts": same,
        "texts": texts,
        "runs": {mode: [run.figures() for run in runs[mode]] for mode in MODES},
    }


def rows(
    name: str, changes: Changes, temperature: float, args: argparse.Namespace
) -> Iterator[dict[str, Any]]:
    """One configuration at one temperature, in a cluster of its own."""
    with ExitStack() as stack:
        config = stack.enter_context(changed(args.config, changes))
        target, _ = stack.enter_context(cluster(config))
        client = stack.enter_context(Client(target))
        count = sum(needed(size, args.prompts) for size in args.concurrency)
        prompts = tokenized(client, mixed(count))
        ways = {mode: over_grpc(client, mode) for mode in MODES}
        for ask in ways.values():
            ask(Batch([[1, 2, 3]], 16))
        for size, mine in shares(prompts, args.concurrency, args.prompts):
            says = f"{name}, temperature {temperature}, {size} at once"
            runs = measure(ways, batches(mine, size, args.tokens, temperature), says)
            row = {"configuration": name, "temperature": temperature, "concurrency": size, **summary(runs)}
            console.print(says, {key: value for key, value in row.items() if key != "runs"})
            yield row


def plot(result: dict[str, Any], out: Path) -> None:
    """The ratio to own plain decoding, a plot for each temperature."""
    found = result["rows"]
    temperatures = sorted({row["temperature"] for row in found})
    figure, plots = axes(len(temperatures), f"Speculation over gRPC, {result['date']}, {result['machine']}")
    for at, temperature in zip(plots, temperatures, strict=True):
        series: dict[str, dict[int, float]] = {}
        for row in found:
            if row["temperature"] == temperature:
                series.setdefault(row["configuration"], {})[row["concurrency"]] = row["ratio"]
        xs = sorted({row["concurrency"] for row in found})
        curves = {name: [each.get(x, float("nan")) for x in xs] for name, each in series.items()}
        lines(at, xs, curves, f"requests at once, temperature {temperature:g}", "speculative over large")
        level(at, NEVER_BELOW)
    save(figure, out)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=list(known()), default=list(known()), metavar="NAME")
    parser.add_argument("--temperatures", nargs="+", type=float, default=[0.0, 0.7, 1.0])
    parser.add_argument("--concurrency", nargs="+", type=int, default=[1, 4, 8, 16, 32])
    parser.add_argument("--prompts", type=int, default=16, help="at least, for each figure")
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--config", type=Path, default=LOCAL)
    parser.add_argument("--out", type=Path, default=RESULTS / "speculation.json")
    return parser.parse_args()


def main() -> None:
    """Runs everything; bench/results/speculation.json and .png grow with every configuration."""
    args = arguments()
    config, head = load_config(args.config), heading()
    result = {
        **head,
        "models": {"large": config.verifier.model, "weights": config.verifier.weights},
        "prompts_at_least": args.prompts,
        "tokens_each": args.tokens,
        "rows": [],
    }
    for name in args.only:
        for temperature in args.temperatures:
            result["rows"] += rows(name, known()[name], temperature, args)
            result["equal_texts"] = sum(row["equal_texts"] for row in result["rows"])
            result["texts"] = sum(row["texts"] for row in result["rows"])
            result["lowest_ratio"] = min(row["ratio"] for row in result["rows"])
            write(args.out, result)
            plot(result, args.out)
    console.print({key: value for key, value in result.items() if key != "rows"})


if __name__ == "__main__":
    main()
