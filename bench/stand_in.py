"""The processes that bench/gateway.py measures beside their clients, each on loopback.

    python bench/stand_in.py CORE engine           a router that answers at once, over the real channel
    python bench/stand_in.py CORE gateway ADDRESS  the gateway itself; the address is the engine's
    python bench/stand_in.py CORE echo             a bare grpc.aio server

Each keeps to its core, prints its address and ends with its input. The engine reads paces: [seconds, tokens].
"""

import asyncio
import json
import os
import sys
import threading
from dataclasses import dataclass
from itertools import cycle, islice
from time import monotonic

import grpc
import grpc.aio
import msgspec

from ringroad.actors.channel.async_spoke import AsyncSpoke
from ringroad.actors.channel.hub import Hub
from ringroad.actors.gateway.config import GatewayConfig, Pair, Policies
from ringroad.actors.gateway.server import Gateway
from ringroad.actors.messages import Cancel, Chunk, Counts, Finish, Hello, Roster, Speaker, Submit
from ringroad.actors.tokenizer import Tokenizer
from ringroad.cluster.models import locate
from ringroad.v1 import inference_pb2

MODEL = "smollm2-135m"
CONTEXT = 8192
TEXT = "The quick brown fox jumps over the lazy dog, and café — naïve or not — says “hello” to 日本. "
MANY = 4096
IDLE_SECONDS = 0.05  # the longest that a new pace waits
HOST = "127.0.0.1"


@dataclass
class Text:
    """A text that the stand-in engine speaks."""

    gateway: bytes
    submit: Submit
    offset: int = 0


class Engine:
    """A router with models that take no time: as a batching engine it makes a step every so often, which
    gives every text its next tokens, and says all of a step in one frame."""

    def __init__(self, tokens: list[int]) -> None:
        self.pace = (0.01, 1)  # seconds between steps, tokens that a step gives a text
        self.hub = Hub(HOST)
        self._tokens = tokens
        self._texts: dict[str, Text] = {}
        model = {"vocabulary": 1 << 20, "context": CONTEXT}
        self._roster = Roster([Hello("verifier", **model), Hello("drafter", model="small", **model)])

    def run(self) -> None:
        """For ever. A step that is late is not made up for."""
        following = 0.0
        while True:
            self._hear(max(0.0, following - monotonic()) if self._texts else IDLE_SECONDS)
            seconds, each = self.pace
            if self._texts and monotonic() >= following:
                following = max(following + seconds, monotonic())
                for text in list(self._texts.values()):
                    self.hub.send(text.gateway, self._spoken(text, each))
            self.hub.flush()

    def _hear(self, seconds: float) -> None:
        for gateway, messages in self.hub.receive(seconds):
            for message in messages:
                match message:
                    case Hello():
                        self.hub.send(gateway, self._roster)
                    case Submit():
                        self._texts[message.session] = Text(gateway, message)
                    case Cancel() if text := self._texts.pop(message.session, None):
                        last = Chunk(message.session, text.offset, [], [], message.reason, Counts())
                        self.hub.send(gateway, last)

    def _spoken(self, text: Text, each: int) -> Chunk:
        submit, offset = text.submit, text.offset
        count = min(each, submit.max_tokens - offset)
        text.offset += count
        first = offset % len(self._tokens)
        tokens = list(islice(cycle(self._tokens), first, first + count))
        finish = Finish.LENGTH if text.offset == submit.max_tokens else None
        if finish:
            del self._texts[submit.session]
        counts = Counts(consults=text.offset, large=text.offset)
        return Chunk(submit.session, offset, tokens, [Speaker.LARGE] * count, finish, counts)


class Echo:
    """What gRPC costs when nothing is done for it: it says what it was sent."""

    async def stream(self, request: bytes, context: grpc.aio.ServicerContext) -> None:  # type: ignore[type-arg]
        """The messages of a request, each written from an object, as a generated servicer does."""
        said = [inference_pb2.GenerateResponse.FromString(each) for each in msgspec.msgpack.decode(request)]
        for each in said:
            await context.write(each)

    async def unary(self, request: bytes, context: grpc.aio.ServicerContext) -> bytes:  # type: ignore[type-arg]
        """As it came."""
        return request

    def handlers(self) -> grpc.GenericRpcHandler:
        """Under `bench.Echo`."""
        serialize = inference_pb2.GenerateResponse.SerializeToString
        methods = {
            "Stream": grpc.unary_stream_rpc_method_handler(self.stream, None, serialize),
            "Unary": grpc.unary_unary_rpc_method_handler(self.unary),
        }
        return grpc.method_handlers_generic_handler("bench.Echo", methods)


def engine() -> None:
    """Serves in this thread; paces are read in another."""
    made = Engine(Tokenizer.open(locate(MODEL)).encode(TEXT))

    def paces() -> None:
        for line in sys.stdin:
            made.pace = tuple(json.loads(line))
            print("paced", flush=True)
        os._exit(0)

    print(made.hub.address, flush=True)
    threading.Thread(target=paces, daemon=True).start()
    made.run()


async def echo() -> None:
    """Until the input ends."""
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", 1 << 26)])
    server.add_generic_rpc_handlers((Echo().handlers(),))
    port = server.add_insecure_port(f"{HOST}:0")
    await server.start()
    await _serving(port)


async def gateway(engines: str) -> None:
    """Likewise."""

    async def routers() -> list[str]:
        return [engines]

    tokenizer = Tokenizer.open(locate(MODEL))
    pair = Pair(
        name="pair", large="large", small="small", context_length=CONTEXT, vocabulary=tokenizer.vocabulary
    )
    config = GatewayConfig(port=0, max_sessions=MANY, max_waiting=MANY, max_streams=MANY)
    policies = Policies("margin", {"margin": 0.5})
    served = Gateway(config, pair, tokenizer, AsyncSpoke(routers), policies, "bench")
    await served.start()
    await _serving(served.port)


async def _serving(port: int) -> None:
    print(f"{HOST}:{port}", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    os._exit(0)


if __name__ == "__main__":
    os.sched_setaffinity(0, {int(sys.argv[1])})
    match sys.argv[2:]:
        case ["engine"]:
            engine()
        case ["gateway", address]:
            asyncio.run(gateway(address))
        case ["echo"]:
            asyncio.run(echo())
