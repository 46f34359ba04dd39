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
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any

import grpc.aio
import msgspec
from arrivals import first
from grpc_health.v1 import health_pb2, health_pb2_grpc
from harness import RESULTS, console, heading, write
from plots import axes, bars, level, save
from sides import (
    CLIENTS,
    GENERATE,
    GET_LOAD,
    LOCAL,
    SERVERS,
    TOKENIZE,
    Bench,
    Server,
    asked,
    read,
    server,
    tokens_of,
)

from ringroad.v1.control_pb2 import GetLoadRequest
from ringroad.v1.inference_pb2 import (
    TokenizeRequest,
)

AT_ONCE = 64
SHAPES = {"a token a message": (64 / 30_000, 1), "four tokens a message": (64 / 30_000, 4)}  # paces


async def streams(bench: Bench) -> dict[str, Any]:
    """By shape: tokens a second of both, round by round."""
    found = {}
    for name, (seconds, each) in SHAPES.items():
        bench.engine.pace(seconds, each)
        request = asked(600 * each)
        rounds = []
        for number in range(bench.rounds + 1):
            ours, said = await _burst(bench.gateway, bench.to_gateway, GENERATE, [request] * AT_ONCE)
            tokens = sum(map(tokens_of, said))
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
        whole += not each.exception() and tokens_of(each.result()) == 2 * seconds
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
