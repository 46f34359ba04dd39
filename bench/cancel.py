"""How soon everything is free when a client cancels, or its deadline passes.

    python bench/cancel.py [--texts 100]

The real roles with real models (smollm2-135m checks and drafts), the real channel and gRPC, but in one
process, where what each holds can be counted every half millisecond: the gateway's places and sessions, the
router's sessions, and those of drafter and verifier in their caches. Counted from when the client cancels, or
is told that its deadline has passed; alone, and beside others, so that steps are running. Writes
results/cancel.json.
"""

import argparse
import asyncio
import random
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from statistics import quantiles
from time import perf_counter
from typing import Any

import grpc
import grpc.aio
from harness import RESULTS, console, heading, write

from ringroad.actors import hosting
from ringroad.actors.channel.async_spoke import AsyncSpoke
from ringroad.actors.channel.hub import Hub
from ringroad.actors.channel.spoke import Spoke
from ringroad.actors.drafter.model import ModelDrafter
from ringroad.actors.engine.engine import Engine
from ringroad.actors.engine.model import Model
from ringroad.actors.engine.weights import open_weights
from ringroad.actors.gateway.config import GatewayConfig, Pair, Policies
from ringroad.actors.gateway.server import Gateway
from ringroad.actors.router.config import RouterConfig
from ringroad.actors.router.router import Router
from ringroad.actors.tokenizer import Tokenizer
from ringroad.actors.verifier.verifier import Verifier
from ringroad.cluster.models import locate
from ringroad.v1 import inference_pb2, inference_pb2_grpc

MODEL = "smollm2-135m"
BYTES = 3 * 10**8  # of each cache
LOOK = 0.0005  # seconds
TARGET = 0.1
BESIDE = 3
LONGEST = 2000  # tokens: more than is ever read


class Roles:
    """Router, drafter and verifier, each on a thread of its own as in a cluster."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._spokes: list[Spoke] = []
        self.hub = Hub("127.0.0.1")
        self.router: Router | None = None
        tenants = Verifier(_engine(), MODEL), ModelDrafter(_engine(), MODEL)
        self.verifier, self.drafter = tenants

        def routed(*made: Any) -> Router:
            self.router = Router(*made)
            return self.router

        hosting.Router = routed  # type: ignore[assignment,misc]  # to look into
        self._start(hosting.run_router, self.hub, RouterConfig(), self._stop)
        for role in tenants:
            spoke = Spoke(lambda: [self.hub.address], role.hello)
            self._spokes.append(spoke)
            self._start(hosting.run_role, role, spoke, self._stop)

    def _start(self, run: Callable[..., None], *what: Any) -> None:
        self._threads.append(threading.Thread(target=run, args=what, daemon=True))
        self._threads[-1].start()

    def close(self) -> None:
        """Ends all, so that the next have the cores."""
        self._stop.set()
        for thread in self._threads:
            thread.join()
        for spoke in self._spokes:
            spoke.close()
        self.hub.close()

    def held(self) -> dict[str, int]:
        """Sessions that each holds, and whether a cache does."""
        assert self.router is not None
        peers = self.router._peers.values()
        return {
            "router": max(len(self.router._running), *(len(peer.sessions) for peer in peers)),
            "drafter": max(len(self.drafter._held), len(self.drafter._engine._sessions)),
            "verifier": max(len(self.verifier._held), len(self.verifier._engine._sessions)),
        }


def _engine() -> Engine:
    return Engine(Model(open_weights(locate(MODEL)), "bf16", 1), BYTES)


async def freed(gateway: Gateway, roles: Roles, most: int) -> dict[str, float]:
    """Seconds from now until each role holds no more than so many sessions."""
    began, found = perf_counter(), dict[str, float]()
    sessions = gateway._sessions
    while len(found) < 4 and perf_counter() - began < 10:
        holds = {
            "gateway": max(sessions.running + sessions.waiting, sessions._streams, len(sessions._known)),
            **roles.held(),
        }
        for role, count in holds.items():
            if count <= most:
                found.setdefault(role, perf_counter() - began)
        await asyncio.sleep(LOOK)
    return {**found, "all": max(found.values()) if len(found) == 4 else float("inf")}


async def ended(
    way: str, stub: Any, gateway: Gateway, roles: Roles, beside: int, wait: float
) -> dict[str, float]:
    """One text that is ended in some way, some seconds after its first token."""
    deadline = None if way == "cancel" else 1.0 + wait
    began = perf_counter()
    call = stub.Generate(_request(), timeout=deadline)
    await call.read()
    if way == "cancel":
        await asyncio.sleep(wait)
        call.cancel()
    else:
        with suppress(grpc.aio.AioRpcError):
            while await call.read() is not grpc.aio.EOF:
                pass
        console.print(f"deadline after {perf_counter() - began:.3f} of {deadline:.3f} s", style="dim")
    return await freed(gateway, roles, beside)


def _request() -> inference_pb2.GenerateRequest:
    return inference_pb2.GenerateRequest(
        token_ids={"ids": [random.randrange(1000, 9000) for _ in range(64)]},
        max_tokens=LONGEST,
        ignore_eos=True,
    )


async def measure(texts: int, beside: int) -> dict[str, Any]:
    """All ways, with so many others that go on."""
    roles = Roles()

    async def routers() -> Sequence[str]:
        return [roles.hub.address]

    tokenizer = Tokenizer.open(locate(MODEL))
    pair = Pair(name="pair", large=MODEL, small=MODEL, context_length=8192, vocabulary=tokenizer.vocabulary)
    config = GatewayConfig(port=0)
    gateway = Gateway(
        config, pair, tokenizer, AsyncSpoke(routers), Policies("margin", {"margin": 0.5}), "bench"
    )
    await gateway.start()
    while not gateway._peers.ready:
        await asyncio.sleep(0.05)
    results: dict[str, Any] = {}
    async with grpc.aio.insecure_channel(f"127.0.0.1:{gateway.port}") as channel:
        stub = inference_pb2_grpc.InferenceServiceStub(channel)  # type: ignore[no-untyped-call]
        others = [asyncio.create_task(_going_on(stub)) for _ in range(beside)]
        await ended("cancel", stub, gateway, roles, beside, 0.5)
        draw = random.Random(1)
        for way in ("cancel", "deadline"):
            count = texts if way == "cancel" else max(10, texts // 5)
            found = [
                await ended(way, stub, gateway, roles, beside, draw.uniform(0.05, 0.4)) for _ in range(count)
            ]
            results[way] = {
                role: _summary([one.get(role, float("inf")) for one in found]) for role in found[0]
            }
        for other in others:
            other.cancel()
    await gateway.stop(0)
    await asyncio.to_thread(roles.close)
    return results


async def _going_on(stub: Any) -> None:
    while True:
        call = stub.Generate(_request())
        async for _ in call:
            pass


def _summary(seconds: list[float]) -> dict[str, float]:
    hundredths = quantiles(seconds, n=100, method="inclusive")
    return {
        "texts": len(seconds),
        **{f"p{each}": hundredths[each - 1] for each in (50, 90, 99)},
        "max": max(seconds),
    }


def main() -> None:
    """Alone, and beside others."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--texts", type=int, default=100)
    texts = arguments.parse_args().texts
    head = heading()
    found = {}
    for beside in (0, BESIDE):
        found[f"beside {beside}"] = asyncio.run(measure(texts, beside))
        console.print(found)
    write(RESULTS / "cancel.json", {**head, "model": MODEL, "target_seconds": TARGET, "ways": found})


if __name__ == "__main__":
    main()
