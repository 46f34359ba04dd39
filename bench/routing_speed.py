"""How fast routed texts come, and what the head takes: written to bench/results.

    python bench/routing_speed.py [--thresholds X ...] [--batches 6] [--tokens 128]

`routed` by the learned head at --thresholds, then other modes, each takes turns with `large` batch by batch
through a cluster of their own, greedy, on prompts of the final sets. Both models have read a batch's prompts
before its turn: else who comes first would pay for them, and `routed` in the middle of its text. Texts end
where they end, so rates are taken while all of a batch run. The head is timed in one process: the small
model's step with and without it, taking turns.
"""

import argparse
import json
import random
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import torch
from harness import LOCAL, RESULTS, cluster, console, heading, write
from ways import Ask, Batch, Run, Runs, batches, full_ratio, measure, over_grpc, ratio

from ringroad.actors.engine.engine import Work
from ringroad.actors.head.file import read
from ringroad.actors.messages import Sampling
from ringroad.cluster.client import Client, user
from ringroad.cluster.config import load_config
from ringroad.cluster.heads import located, with_head
from ringroad.cluster.roles import engine
from ringroad.cluster.training.tasks import tasks
from ringroad.kernels.head import Head
from ringroad.v1.inference_pb2 import TokenIds

ROUNDS = 200  # of a step with and without the head


def prompts(client: Client, count: int) -> list[list[int]]:
    """So many of the final sets, in any order."""
    chosen = tasks("final", 3)
    random.Random(0).shuffle(chosen)
    return [list(client.tokenize(user(task.question)).token_ids) for task in chosen[:count]]


def read_beforehand(client: Client, ask: Ask) -> Ask:
    """The same, once both models have read the prompts."""

    def answer(batch: Batch) -> Run:
        for prompt in batch.prompts:
            for mode in ("large", "small"):
                list(client.generate(TokenIds(ids=prompt), mode=mode, max_tokens=1))
        return ask(batch)

    return answer


def rates(runs: Runs, size: int) -> dict[str, Any]:
    """Of each way, and beside `large`."""
    found: dict[str, Any] = {"batch": size, "batches": len(runs["large"])}
    for name, each in runs.items():
        found[name] = {
            "tokens_per_second": round(median(run.full_rate or run.rate for run in each), 2),
            "over_large": round(full_ratio(runs, name, "large") or ratio(runs, name, "large"), 3),
            "to_the_end_over_large": round(ratio(runs, name, "large"), 3),
            "consults_per_token": round(median(run.consults_per_token for run in each), 4),
        }
    return found


def head_cost(config: Path, head: Head, rows: Sequence[int] = (1, 8)) -> dict[str, Any]:
    """Milliseconds of the small model's step, and what of them the head takes."""
    torch.set_num_threads(2)
    small = engine(load_config(config).drafter, None, head)
    found: dict[str, Any] = {}
    for count in rows:
        names = [f"bench {n}" for n in range(count)]
        for n, name in enumerate(names):
            small.open(name, Sampling())
            small.step([Work(name, [1000 + n] * 100, answers=0)])
        took: dict[bool, list[float]] = {False: [], True: []}
        for turn in range(2 * ROUNDS):
            judged = turn % 2 == 1
            works = [Work(name, [1000], features=True, doubts=judged) for name in names]
            began = perf_counter()
            small.step(works)
            took[judged].append(perf_counter() - began)
            for name in names:
                small.truncate(name, 100)
        without, beside = median(took[False]), median(took[True])
        found[str(count)] = {
            "step_ms": round(1000 * without, 3),
            "with_head_ms": round(1000 * beside, 3),
            "head_share": round((beside - without) / beside, 4),
        }
        for name in names:
            small.close(name)
    return found


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, default=LOCAL)
    parser.add_argument("--thresholds", type=float, nargs="+", help="of the head; without them, its own")
    parser.add_argument("--also", nargs="*", default=["speculative", "small"], help="other modes to measure")
    parser.add_argument("--batches", type=int, default=6, help="of each size")
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--out", type=Path, default=RESULTS / "routing_speed.json")
    return parser.parse_args()


def beside_large(name: str, options: dict[str, Any], args: argparse.Namespace) -> list[dict[str, Any]]:
    """A way and `large` in turns through a cluster of their own, for each size: drafters remember recent
    texts, and must not have seen these by another way."""
    found = []
    with cluster(args.config) as (target, _), Client(target) as client:
        large, other = over_grpc(client, "large", ignore_eos=False), over_grpc(client, **options)
        ways = {each: read_beforehand(client, ask) for each, ask in (("large", large), (name, other))}
        texts = prompts(client, max(args.sizes) * (args.batches + 1))
        for size in args.sizes:
            warm, *measured = batches(texts, size, args.tokens)[: args.batches + 1]
            for ask in ways.values():
                ask(warm)
            found.append(rates(measure(ways, measured, f"{name}, batch {size}"), size))
    return found


def main() -> None:
    """Writes bench/results/routing_speed.json."""
    args = arguments()
    head = read(located(with_head(load_config(args.config)).head.path))
    result: dict[str, Any] = {**heading(), "tokens": args.tokens}
    result["head"] = head_cost(args.config, Head(head.tensors))
    ways: dict[str, dict[str, Any]] = {
        f"routed {at:g}": {"mode": "routed", "policy": "learned", "threshold": at}
        for at in args.thresholds or [head.card.threshold]
    }
    ways |= {mode: {"mode": mode} for mode in args.also}
    result["rates"] = []
    for name, options in ways.items():
        result["rates"] += beside_large(name, {"ignore_eos": False, **options}, args)
        write(args.out, result)
    console.print_json(json.dumps(result))


if __name__ == "__main__":
    main()
