"""The processes of bench/gateway.py: the engine, the gateway and its echo, and how they are asked."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import grpc.aio
import psutil
from harness import HERE

from ringroad.v1.inference_pb2 import (
    FINISH_REASON_LENGTH,
    MODE_LARGE,
    GenerateRequest,
    GenerateResponse,
)

SERVERS, CLIENTS = min(os.sched_getaffinity(0)), max(os.sched_getaffinity(0))  # cores
GENERATE, GET_LOAD, TOKENIZE = (
    f"/ringroad.v1.{name}"
    for name in ("InferenceService/Generate", "ControlService/GetLoad", "InferenceService/Tokenize")
)
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


def tokens_of(said: list[bytes]) -> int:
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
