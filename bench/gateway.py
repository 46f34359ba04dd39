"""What the gateway itself costs: one process of it beside a bare grpc.aio server, on loopback.

    python bench/gateway.py [--only streams calls held first] [--rounds 5]

A stand-in engine answers over the real channel. The servers share one core and take turns; clients and engine
have another. `streams`: texts at once, faster than they can be served, as the gateway streams them and as a
server does that echoes the very messages. `calls`: small unary calls in turns with echoes. `held`: 1,000
streams for a minute. `first`: the time to the first token at 0.8 of the load at which the gateway is busy all
the time, over an idle one's.
"""

import argparse
import asyncio
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter, process_time
from typing import Any

import grpc.aio
import msgspec
import psutil
from grpc_health.v1 import health_pb2, health_pb2_grpc
from harness import HERE, RESULTS, console, heading, write
from plots import axes, bars, level, save

from ringroad.v1.control_pb2 import GetLoadRequest
from ringroad.v1.inference_pb2 import (
    FINISH_REASON_LENGTH,
    MODE_LARGE,
    GenerateRequest,
    GenerateResponse,
    TokenizeRequest,
)

SERVERS, CLIENTS = min(os.sched_getaffinity(0)), max(os.sched_getaffinity(0))  # cores
GENERATE, GET_LOAD, TOKENIZE = (
    f"/ringroad.v1.{name}"
    for name in ("InferenceService/Generate", "ControlService/GetLoad", "InferenceService/Tokenize")
)
AT_ONCE = 64
SHAPES = {"a token a message": (64 / 30_000, 1), "four tokens a message": (64 / 30_000, 4)}  # paces
STEP_SECONDS = 0.01  # of `first`: a fast engine's
TEXT_TOKENS = 32  # likewise
LOCAL = [("grpc.use_local_subchannel_pool", 1)]  # a connection of its own for each channel


@dataclass
class Server:
    """A process of stand_in.py."""

    process: "subprocess.Popen[str]"
    address: str

    def cpu(self) -> float:
        """Seconds of the processor so far."""
        times = psutil.Process(self.process.pid).cpu_times()
        return times.user + times.system

    def bytes(self) -> int:
        """Memory that is its own."""
        return int(psutil.Process(self.process.pid).memory_full_info().uss)

    def pace(self, seconds: float, tokens: int) -> None:
        """The engine's from now on."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps([seconds, tokens]) + "\n")
        self.process.stdin.flush()
        self.process.stdout.readline()


@contextmanager
def server(core: int, *words: str) -> Iterator[Server]:
    """A process that serves until it is left."""
    command = [sys.executable, str(HERE / "stand_in.py"), str(core), *words]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin
    assert process.stdout
    try:
        yield Server(process, process.stdout.readline().strip())
    finally:
        process.stdin.close()
        process.wait()


@dataclass
class Bench:
    """All three, and channels to two."""

    engine: Server
    gateway: Server
    echo: Server
    to_gateway: grpc.aio.Channel
    to_echo: grpc.aio.Channel
    rounds: int


def asked(tokens: int) -> bytes:
    """A request for a text of so many tokens."""
    plain = {"ignore_eos": True, "mode": MODE_LARGE, "sampling": {"seed": 1}}
    return GenerateRequest(prompt="hello there", max_tokens=tokens, **plain).SerializeToString()


async def read(call: Any) -> list[bytes]:
    """Every message of a stream, as it came."""
    said = []
    while (message := await call.read()) is not grpc.aio.EOF:
        said.append(message)
    return said


async def streams(bench: Bench) -> dict[str, Any]:
    """By shape: tokens a second of both, round by round."""
    found = {}
    for name, (seconds, each) in SHAPES.items():
        bench.engine.pace(seconds, each)
        request = asked(600 * each)
        rounds = []
        for number in range(bench.rounds + 1):
            ours, said = await _burst(bench.gateway, bench.to_gateway, GENERATE, [request] * AT_ONCE)
            tokens = sum(map(_tokens, said))
            assert tokens == AT_ONCE * 600 * each, "tokens were lost"
            echoed = [msgspec.msgpack.encode(each) for each in said]
            theirs, again = await _burst(bench.echo, bench.to_echo, "/bench.Echo/Stream", echoed)
            assert again == said
            messages = sum(map(len, said))
            both = {"gateway": ours, "echo": theirs}
            made = {
                "tokens": tokens,
                "messages": messages,
                "ratio": round(theirs["seconds"] / ours["seconds"], 3),
            }
            rates = {f"{who}_tokens_per_second": round(tokens / of["seconds"]) for who, of in both.items()}
            if number:  # the first warms up
                rounds.append(made | rates | both)
                console.print(name, made, rates)
        found[name] = {"ratio": median(each["ratio"] for each in rounds), "rounds": rounds}
    return found


async def _burst(
    server: Server, channel: grpc.aio.Channel, method: str, requests: list[bytes]
) -> tuple[dict[str, float], list[list[bytes]]]:
    """All at once, to the last: seconds, how busy both ends were, and what was said."""
    call: Any = channel.unary_stream(method)
    cpu, own, began = server.cpu(), process_time(), perf_counter()
    said = list(await asyncio.gather(*(read(call(request)) for request in requests)))
    seconds = perf_counter() - began
    busy = {"server_busy": (server.cpu() - cpu) / seconds, "client_busy": (process_time() - own) / seconds}
    return {name: round(value, 4) for name, value in {"seconds": seconds, **busy}.items()}, said


def _tokens(said: list[bytes]) -> int:
    """Of a whole stream, whose offsets and end are as they must be."""
    offset = 0
    for message in said[:-1]:
        delta = GenerateResponse.FromString(message).delta
        assert delta.offset == offset
        offset += len(delta.token_ids)
    final = GenerateResponse.FromString(said[-1]).final
    assert final.finish_reason == FINISH_REASON_LENGTH
    assert final.usage.completion_tokens == offset
    return offset


async def calls(bench: Bench) -> dict[str, Any]:
    """By method: milliseconds of a call and of an echo, each after the other."""
    found = {}
    echo: Any = bench.to_echo.unary_unary("/bench.Echo/Unary")
    text = TokenizeRequest(text="The quick brown fox jumps over the lazy dog. " * 4).SerializeToString()
    for method, request in ((GET_LOAD, GetLoadRequest().SerializeToString()), (TOKENIZE, text)):
        call: Any = bench.to_gateway.unary_unary(method)
        took: dict[str, list[float]] = {"gateway": [], "echo": []}
        for _ in range(400 * bench.rounds):
            for who, asking in (("gateway", call), ("echo", echo)):
                began = perf_counter()
                await asking(request)
                took[who].append(1000 * (perf_counter() - began))
        p50 = {f"{who}_p50_ms": round(median(each), 3) for who, each in took.items()}
        overhead = round(p50["gateway_p50_ms"] - p50["echo_p50_ms"], 3)
        found[method] = {"overhead_p50_ms": overhead, **p50, "calls": len(took["gateway"])}
        console.print(method, found[method])
    return found


async def held(bench: Bench, count: int = 1000, seconds: int = 60) -> dict[str, Any]:
    """Streams at once over ten connections, two tokens a second each, and the memory that they take."""
    bench.engine.pace(0.5, 1)
    channels = [grpc.aio.insecure_channel(bench.gateway.address, LOCAL) for _ in range(10)]
    ways: list[Any] = [channel.unary_stream(GENERATE) for channel in channels]
    await asyncio.gather(*(read(way(asked(2))) for way in ways))
    before, peak, began = bench.gateway.bytes(), 0, perf_counter()
    reads = [asyncio.create_task(read(ways[n % 10](asked(2 * seconds)))) for n in range(count)]
    shortest = 0.0
    while any(not each.done() for each in reads):
        await asyncio.wait(reads, timeout=5)
        peak = max(peak, bench.gateway.bytes())
        shortest = shortest or (perf_counter() - began if any(each.done() for each in reads) else 0.0)
    whole = 0
    for each in reads:
        whole += not each.exception() and _tokens(each.result()) == 2 * seconds
    for channel in channels:
        await channel.close()
    return {
        "streams": count,
        "lost": count - whole,
        "seconds": round(perf_counter() - began, 1),
        "kilobytes_per_stream": round((peak - before) / count / 1000, 1),
        "gateway_megabytes": {
            "before": before / 1e6,
            "most": peak / 1e6,
            "after": bench.gateway.bytes() / 1e6,
        },
    }


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
        assert _tokens([message, *await read(stream)]) == TEXT_TOKENS

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


PARTS: dict[str, Callable[[Bench], Any]] = {"streams": streams, "calls": calls, "held": held, "first": first}


def plot(result: dict[str, Any], path: Path) -> Path:
    """Beside the JSON."""
    shown = [name for name in ("streams", "calls", "first") if name in result]
    figure, places = axes(
        max(1, len(shown)), f"the gateway's own cost, {result['date']}, {result['machine']}"
    )
    for at, name in zip(places, shown, strict=False):
        part = result[name]
        if name == "streams":
            series = {
                who: [
                    median(each[f"{who}_tokens_per_second"] for each in shape["rounds"])
                    for shape in part.values()
                ]
                for who in ("gateway", "echo")
            }
            bars(at, list(part), series, "tokens/s")
        elif name == "calls":
            series = {who: [each[f"{who}_p50_ms"] for each in part.values()] for who in ("gateway", "echo")}
            bars(at, [method.rpartition("/")[2] for method in part], series, "p50, ms")
        else:
            series = {who: [part[who][f"first_{p}_ms"] for p in ("p50", "p99")] for who in ("idle", "loaded")}
            bars(at, ["p50", "p99"], series, "first token, ms")
            level(at, 2 * part["idle"]["first_p99_ms"])
    return save(figure, path)


async def _ready(gateway: Server) -> None:
    """Waits until the gateway knows its router."""
    async with grpc.aio.insecure_channel(gateway.address, LOCAL) as channel:
        probe: Any = health_pb2_grpc.HealthStub(channel)  # type: ignore[no-untyped-call]
        while (
            await probe.Check(health_pb2.HealthCheckRequest())
        ).status != health_pb2.HealthCheckResponse.SERVING:
            await asyncio.sleep(0.05)


async def measured(parts: list[str], rounds: int, told: Callable[[dict[str, Any]], None]) -> None:
    """Measures some parts and tells of each."""
    os.sched_setaffinity(0, {CLIENTS})
    with (
        server(CLIENTS, "engine") as engine,
        server(SERVERS, "gateway", engine.address) as gateway,
        server(SERVERS, "echo") as echo,
    ):
        async with (
            grpc.aio.insecure_channel(gateway.address, LOCAL) as to_gateway,
            grpc.aio.insecure_channel(echo.address, LOCAL) as to_echo,
        ):
            bench = Bench(engine, gateway, echo, to_gateway, to_echo, rounds)
            await _ready(gateway)
            for name in parts:
                told({name: await PARTS[name](bench)})


def main() -> None:
    """The command."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS))
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--out", type=Path, default=RESULTS / "gateway.json")
    chosen = options.parse_args()
    known = json.loads(chosen.out.read_text()) if chosen.out.exists() else {}
    result: dict[str, Any] = known | heading()

    def told(part: dict[str, Any]) -> None:
        result.update(part)
        write(chosen.out, result)
        plot(result, chosen.out)

    asyncio.run(measured(chosen.only, chosen.rounds, told))


if __name__ == "__main__":
    main()
