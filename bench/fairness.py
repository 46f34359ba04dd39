"""Two tenants of one gateway, one of which floods it: what the other notices.

    python bench/fairness.py [--seconds 60]

The gateway is real, with its API keys and its gRPC port; behind it stands an engine of a fixed speed, in
place of models. Each tenant's clients are a process of their own. Writes results/fairness.json and .png.
"""

import argparse
import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from statistics import quantiles
from time import perf_counter
from typing import Any

import grpc
import grpc.aio
from harness import RESULTS, console, heading, write
from plots import axes, level, save

from ringroad.actors.gateway.config import GatewayConfig, Pair, Policies
from ringroad.actors.gateway.keys import Key, Scope, new
from ringroad.actors.gateway.server import Gateway
from ringroad.actors.messages import Cancel, Chunk, Counts, Finish, Hello, Roster, Speaker, Submit
from ringroad.actors.tokenizer import Tokenizer
from ringroad.cluster.models import locate
from ringroad.v1 import inference_pb2, inference_pb2_grpc

MODEL = "smollm2-135m"  # its tokenizer
PLACES = 16
PREFILL, STEP = 0.1, 0.02  # seconds to the first token, and from each to the next
PROMPT, ANSWER = 48, 16  # tokens
RATE, FLOOD = 5.0, 50  # requests a second of the quiet tenant, and how many times as many of the other
TARGET = 1.5
WAYS = {  # who floods, and whose name the quiet one goes by
    "alone": (False, "quiet"),
    "beside a flood": (True, "quiet"),
    "in the flood's own line": (True, "flood"),  # what first come, first served would be
}


class Engine:
    """A router with models of a fixed speed, as a link of the gateway: every text gets a token a step."""

    def __init__(self) -> None:
        self._said: asyncio.Queue[Any] = asyncio.Queue()
        self._texts: dict[str, asyncio.Task[None]] = {}
        model = {"vocabulary": 1 << 20, "context": 8192}
        self._said.put_nowait(Roster([Hello("verifier", **model), Hello("drafter", model="small", **model)]))

    async def receive(self) -> Any:
        """As a `RouterLink`."""
        return await self._said.get()

    async def send(self, message: Any) -> None:
        """Likewise."""
        match message:
            case Submit(session=name):
                self._texts[name] = asyncio.create_task(self._speak(message))
            case Cancel(session=name, reason=reason) if text := self._texts.pop(name, None):
                text.cancel()
                self._said.put_nowait(Chunk(name, 0, [], [], reason, Counts()))

    async def _speak(self, submit: Submit) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        for n in range(submit.max_tokens):
            await asyncio.sleep(began + PREFILL + n * STEP - loop.time())
            last = n + 1 == submit.max_tokens
            if last:
                del self._texts[submit.session]
            finish = Finish.LENGTH if last else None
            self._said.put_nowait(Chunk(submit.session, n, [100 + n], [Speaker.LARGE], finish, Counts()))


async def gateway(keys: str) -> None:
    """Until the input ends."""
    tokenizer = Tokenizer.open(locate(MODEL))
    pair = Pair(name="pair", large="a", small="b", context_length=8192, vocabulary=tokenizer.vocabulary)
    config = GatewayConfig(port=0, max_sessions=PLACES, max_waiting=64, keys_file=Path(keys))
    served = Gateway(config, pair, tokenizer, Engine(), Policies("margin", {"margin": 0.5}), "bench")
    await served.start()
    print(f"127.0.0.1:{served.port}", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    os._exit(0)


async def clients(target: str, key: str, rate: float, seconds: float, seed: int) -> None:
    """Asks at random moments, so many a second whatever becomes of them; prints what they saw."""
    draw = random.Random(seed)
    request = inference_pb2.GenerateRequest(
        token_ids={"ids": [200 + n for n in range(PROMPT)]}, max_tokens=ANSWER, ignore_eos=True
    )
    first: list[float] = []  # seconds to the first token
    ends: Counter[str] = Counter()

    async def one(stub: Any) -> None:
        began = perf_counter()
        call = stub.Generate(request, metadata=[("authorization", f"Bearer {key}")])
        try:
            answer = await call.read()
            first.append(perf_counter() - began)
            while answer is not grpc.aio.EOF:
                answer = await call.read()
            ends["served"] += 1
        except grpc.aio.AioRpcError as error:
            ends[error.code().name] += 1

    async with grpc.aio.insecure_channel(target) as channel, asyncio.TaskGroup() as asked:
        stub = inference_pb2_grpc.InferenceServiceStub(channel)  # type: ignore[no-untyped-call]
        await channel.channel_ready()
        loop = asyncio.get_running_loop()
        at = began = loop.time()
        while at < began + seconds:
            await asyncio.sleep(max(0.0, at - loop.time()))
            asked.create_task(one(stub))
            at += draw.expovariate(rate)
    print(json.dumps({"first_token_seconds": first, "ends": ends}), flush=True)


def measure(seconds: float, way: tuple[bool, str], folder: Path) -> dict[str, Any]:
    """One way, at a gateway of its own."""
    flooded, name = way
    keys = {tenant: new(tenant, frozenset(Scope)) for tenant in ("quiet", "flood")}
    path = folder / "keys.toml"
    path.write_text("".join(_entry(key) for _, key in keys.values()))
    with ExitStack() as stack:
        served = stack.enter_context(_run("gateway", str(path)))
        assert served.stdout
        assert served.stdin
        stack.callback(served.stdin.close)
        target = served.stdout.readline().strip()
        loads = {"quiet": (keys[name][0], RATE, seconds, 1)}
        if flooded:
            loads["flood"] = (keys["flood"][0], RATE * FLOOD, seconds + 2, 2)
        running = {
            who: stack.enter_context(_run("clients", target, *map(str, load))) for who, load in loads.items()
        }
        said = {who: json.loads(process.communicate()[0]) for who, process in running.items()}
    return {who: {**_summary(one["first_token_seconds"]), "ends": one["ends"]} for who, one in said.items()}


def _summary(seconds: list[float]) -> Mapping[str, float]:
    if len(seconds) < 2:
        return {"texts": len(seconds)}
    hundredths = quantiles(seconds, n=100, method="inclusive")
    return {"texts": len(seconds), **{f"p{each}": hundredths[each - 1] for each in (50, 90, 99)}}


def _entry(key: Key) -> str:
    return f'[[keys]]\nid = "{key.id}"\nhash = "{key.hash}"\ntenant = "{key.tenant}"\n'


def _run(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, __file__, *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def main() -> None:
    """All ways, one after another."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--seconds", type=float, default=60.0, help="of each way")
    seconds = arguments.parse_args().seconds
    found, head = {}, heading()
    with tempfile.TemporaryDirectory() as folder:
        for name, way in WAYS.items():
            found[name] = measure(seconds, way, Path(folder))
            console.print(name, found[name])
    ratio = found["beside a flood"]["quiet"]["p99"] / found["alone"]["quiet"]["p99"]
    console.print(f"p99 beside a flood / alone: {ratio:.2f} (at most {TARGET})")
    settings = {
        "places": PLACES,
        "first_token_seconds": PREFILL,
        "step_seconds": STEP,
        "prompt_tokens": PROMPT,
        "answer_tokens": ANSWER,
        "requests_a_second": RATE,
        "flood": FLOOD,
        "seconds": seconds,
    }
    path = RESULTS / "fairness.json"
    write(path, {**head, "settings": settings, "ways": found, "p99_ratio": ratio, "target": TARGET})
    figure, (at,) = axes(1, f"The quiet tenant's time to first token; the other asks {FLOOD} times as often")
    for place, name in enumerate(("p50", "p90", "p99")):
        values = [1000 * way["quiet"].get(name, float("nan")) for way in found.values()]
        at.bar([index + 0.27 * (place - 1) for index in range(len(values))], values, 0.25, label=name)
    at.set_xticks(range(len(found)), list(found), fontsize=8)
    at.set_yscale("log")
    at.set_ylabel("ms")
    level(at, 1000 * TARGET * found["alone"]["quiet"]["p99"])
    at.legend(fontsize=7)
    save(figure, path)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["gateway", keys]:
            asyncio.run(gateway(keys))
        case ["clients", target, key, rate, seconds, seed]:
            asyncio.run(clients(target, key, float(rate), float(seconds), int(seed)))
        case _:
            main()
