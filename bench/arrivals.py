"""First tokens under load: requests that come at random, whether or not the earlier ones are answered."""

import asyncio
import random
from dataclasses import dataclass
from statistics import quantiles
from time import perf_counter, process_time
from typing import Any

from harness import console
from sides import GENERATE, Bench, asked, read, tokens_of

STEP_SECONDS = 0.01  # of `first`: a fast engine's
TEXT_TOKENS = 32  # likewise


async def first(bench: Bench) -> dict[str, Any]:
    """Open-loop arrivals at random: the time to the first token while idle, and at 0.8 of saturation."""
    bench.engine.pace(STEP_SECONDS, 1)
    draw = random.Random(1)
    await _arrivals(bench, draw, 20, 2)
    ladder, rate = [], 60.0
    while True:
        ladder.append({"rate": rate} | _summary(await _arrivals(bench, draw, rate, 4)))
        console.print(ladder[-1])
        if ladder[-1]["server_busy"] > 0.95 or ladder[-1]["slowest_start_ms"] > 1000 or len(ladder) > 20:
            break
        rate *= 1.25
    saturated = ladder[-1]["rate"]
    idle = _summary(await _arrivals(bench, draw, 0.05 * saturated, 20))
    loaded = _summary(await _arrivals(bench, draw, 0.8 * saturated, 15))
    ratio = loaded["first_p99_ms"] / idle["first_p99_ms"]
    made = {"ratio_p99": round(ratio, 3), "saturated_requests_per_second": saturated}
    console.print(made, idle, loaded)
    return {**made, "idle": idle, "loaded": loaded, "ladder": ladder}


@dataclass
class Load:
    """What came of some seconds of arrivals."""

    first: list[float]  # seconds to the first token
    late: float  # of the arrival that was sent latest: the client's fault
    busy: dict[str, float]


async def _arrivals(bench: Bench, draw: random.Random, rate: float, seconds: float) -> Load:
    call: Any = bench.to_gateway.unary_stream(GENERATE)
    took: list[float] = []
    late, due, tasks = 0.0, perf_counter(), []
    cpu, own, began = bench.gateway.cpu(), process_time(), due

    async def one() -> None:
        started = perf_counter()
        stream = call(asked(TEXT_TOKENS))
        message = await stream.read()
        took.append(perf_counter() - started)
        assert tokens_of([message, *await read(stream)]) == TEXT_TOKENS

    while due < began + seconds:
        await asyncio.sleep(max(0.0, due - perf_counter()))
        late = max(late, perf_counter() - due)
        tasks.append(asyncio.create_task(one()))
        due += draw.expovariate(rate)
    spent = perf_counter() - began
    busy = {"server_busy": (bench.gateway.cpu() - cpu) / spent, "client_busy": (process_time() - own) / spent}
    await asyncio.gather(*tasks)
    return Load(took, late, busy)


def _summary(load: Load) -> dict[str, Any]:
    cuts = [1000 * cut for cut in quantiles(load.first, n=100)]
    times = {"first_p50_ms": cuts[49], "first_p99_ms": cuts[98], "slowest_start_ms": 1000 * load.late}
    return {"requests": len(load.first)} | {
        name: round(value, 3) for name, value in (times | load.busy).items()
    }
