"""A gateway on loopback with a toy tokenizer and a router whose part the test plays."""

import asyncio
import inspect
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from tokenizers import AddedToken, decoders, models, pre_tokenizers
from tokenizers import Tokenizer as Bpe

from ringroad.actors.gateway.config import GatewayConfig, Pair, Policies
from ringroad.actors.gateway.link import LinkLost
from ringroad.actors.gateway.server import Gateway
from ringroad.actors.ledger.ledger import Ledger
from ringroad.actors.messages import (
    Cancel,
    Chunk,
    Counts,
    Finish,
    Hello,
    Roster,
    Speaker,
    Submit,
    ToGateway,
    ToRouter,
)
from ringroad.actors.tokenizer import Tokenizer, _alphabet
from ringroad.v1 import control_pb2, control_pb2_grpc, inference_pb2, inference_pb2_grpc

NOTHING = Counts()
POLICIES = Policies("margin", {"margin": 0.5, "entropy": 0.75, "step": 0.25, "cascade": 0.5})
SECONDS = 10.0  # nothing here takes that long
END = 257
CONTEXT = 64
TEMPLATE = (
    "{% for m in messages %}{% if m.content == 'boom' %}{{ raise_exception('no boom') }}{% endif %}"
    "[{{ m.role }}]{{ m.content }}{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}"
)
VERIFIER = Hello(
    "verifier",
    model="large",
    vocabulary=261,
    context=CONTEXT,
    sessions=2,
    cached_tokens=7,
    memory_bytes=9,
    idle_tokens=64,
    found_share=0.25,
    rulings=7,
)
DRAFTER = Hello("drafter", model="small", vocabulary=261, context=CONTEXT)


def toy_tokenizer() -> Tokenizer:
    """Token ids 0 to 255 are the bytes; then come special tokens and two plain added ones, 259 and 260."""
    bpe = Bpe(models.BPE(vocab=_alphabet(), merges=[]))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    bpe.decoder = decoders.ByteLevel()
    bpe.add_special_tokens(
        [AddedToken(t, normalized=False) for t in ("<|im_start|>", "<|im_end|>", "<|endoftext|>")]
    )
    bpe.add_tokens([AddedToken(token, normalized=False) for token in ("<tool>", ".\n\n")])
    return Tokenizer(
        bpe, model_name="toy", vocabulary=261, context_length=CONTEXT, ends=[END], chat_template=TEMPLATE
    )


class FakeRouter:
    """The router's end of a link: what the gateway sent can be awaited, what it hears is said here."""

    def __init__(self) -> None:
        self.down = False
        self.refused = asyncio.Event()
        self._submits: asyncio.Queue[Submit] = asyncio.Queue()
        self._cancels: asyncio.Queue[Cancel] = asyncio.Queue()
        self._says: asyncio.Queue[ToGateway | Exception] = asyncio.Queue()

    async def send(self, message: ToRouter) -> None:
        if self.down:
            self.refused.set()
            raise LinkLost
        if isinstance(message, Submit):
            self._submits.put_nowait(message)
        elif isinstance(message, Cancel):
            self._cancels.put_nowait(message)

    async def receive(self) -> ToGateway:
        said = await self._says.get()
        if isinstance(said, Exception):
            raise said
        return said

    async def submitted(self) -> Submit:
        return await asyncio.wait_for(self._submits.get(), SECONDS)

    async def cancelled(self) -> Cancel:
        return await asyncio.wait_for(self._cancels.get(), SECONDS)

    @property
    def quiet(self) -> bool:
        return self._submits.empty() and self._cancels.empty()

    def say(self, message: ToGateway) -> None:
        self._says.put_nowait(message)

    def lose(self) -> None:
        self.down = True
        self.break_down(LinkLost())

    def break_down(self, error: Exception) -> None:
        self._says.put_nowait(error)

    def tokens(
        self, submit: Submit, offset: int, tokens: Sequence[int], speaker: Speaker = Speaker.LARGE
    ) -> None:
        self.say(Chunk(submit.session, offset, list(tokens), [speaker] * len(tokens)))

    def end(
        self,
        submit: Submit,
        offset: int,
        finish: Finish,
        tokens: Sequence[int] = (),
        counts: Counts | None = None,
    ) -> None:
        speakers = [Speaker.LARGE] * len(tokens)
        self.say(Chunk(submit.session, offset, list(tokens), speakers, finish=finish, counts=counts))


class Served:
    """A running gateway and a client of it."""

    def __init__(
        self, gateway: Gateway, router: FakeRouter, channel: grpc.aio.Channel, key: str = ""
    ) -> None:
        """key: what this client says who it is by."""
        self.metadata = bearer(key)
        self.gateway = gateway
        self.router = router
        self.channel = channel
        self.inference: Any = inference_pb2_grpc.InferenceServiceStub(channel)
        self.control: Any = control_pb2_grpc.ControlServiceStub(channel)

    async def complete(self, **fields: Any) -> str:
        """A whole request that the router answers with "ok": the gateway is well."""
        call = self.inference.Generate(
            inference_pb2.GenerateRequest(**({"prompt": "hi"} | fields)), metadata=self.metadata
        )
        submit = await self.router.submitted()
        self.router.end(submit, 0, Finish.STOP, [*b"ok", END])
        text, final = await read(call)
        assert final.finish_reason == inference_pb2.FINISH_REASON_STOP
        return text

    async def load(self) -> tuple[int, int]:
        load = await self.control.GetLoad(control_pb2.GetLoadRequest(), metadata=self.metadata)
        return load.running, load.waiting

    async def router_lost(self) -> None:
        """Asks until no role is known."""
        async with asyncio.timeout(SECONDS):
            while await self.roles():
                pass

    async def roles(self) -> Sequence[control_pb2.Role]:
        """What the server says of itself."""
        request = control_pb2.GetServerInfoRequest()
        return (await self.control.GetServerInfo(request, metadata=self.metadata)).roles

    async def until_load(self, running: int, waiting: int) -> None:
        """Asks until it is so."""
        async with asyncio.timeout(SECONDS):
            while await self.load() != (running, waiting):
                pass


def bearer(key: str) -> list[tuple[str, str]]:
    """Metadata of a call."""
    return [("authorization", f"Bearer {key}")] if key else []


async def read(call: Any) -> tuple[str, inference_pb2.Final]:
    """A whole stream, whose shape is checked: offsets without gaps, one final, and that last."""
    text, offset, finals = "", 0, []
    async with asyncio.timeout(SECONDS):
        async for response in call:
            assert not finals
            if response.HasField("final"):
                finals.append(response.final)
                continue
            delta = response.delta
            assert delta.offset == offset
            assert len(delta.speakers) == len(delta.token_ids)
            assert delta.text or delta.token_ids
            offset += len(delta.token_ids)
            text += delta.text
    (final,) = finals
    assert final.usage.completion_tokens == offset
    assert final.usage.small_tokens + final.usage.large_tokens == offset
    return text, final


async def failure(call: Any) -> tuple[grpc.StatusCode, Any]:
    """The code of a call that fails before any message, and the detail it carries, if any."""
    first = call.read() if hasattr(call, "read") else call
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await asyncio.wait_for(first, SECONDS)
    status = await rpc_status.aio.from_call(call)
    for packed in status.details if status else ():
        for kind in (error_details_pb2.BadRequest, error_details_pb2.RetryInfo):
            if packed.Is(kind.DESCRIPTOR):
                return caught.value.code(), kind.FromString(packed.value)
    return caught.value.code(), None


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Tests that are coroutines run on a loop of their own."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in inspect.signature(pyfuncitem.obj).parameters}
    asyncio.run(pyfuncitem.obj(**arguments))
    return True


Serving = Callable[..., AbstractAsyncContextManager[Served]]


def connected(port: int, credentials: grpc.ChannelCredentials | None = None) -> grpc.aio.Channel:
    """A connection to a gateway here."""
    target = f"127.0.0.1:{port}"
    options = [("grpc.use_local_subchannel_pool", 1)]  # else channels of a process share connections
    if credentials is None:
        return grpc.aio.insecure_channel(target, options)
    return grpc.aio.secure_channel(target, credentials, options)


@asynccontextmanager
async def _serving(
    small: str = "small",
    roster: Sequence[Hello] = (VERIFIER, DRAFTER),
    policies: Policies = POLICIES,
    ledger: Ledger | None = None,
    key: str = "",
    credentials: grpc.ChannelCredentials | None = None,
    **settings: Any,
) -> AsyncIterator[Served]:
    router = FakeRouter()
    config = GatewayConfig(port=0, **({"default_max_tokens": 16, "retry_seconds": 0.01} | settings))
    pair = Pair(name="toy", large="large", small=small, context_length=CONTEXT, vocabulary=261)
    gateway = Gateway(config, pair, toy_tokenizer(), router, policies, "1.2.3", ledger)
    await gateway.start()
    if roster:
        router.say(Roster(list(roster)))
    try:
        async with connected(gateway.port, credentials) as channel:
            served = Served(gateway, router, channel, key)
            if roster:
                await _until_ready(served)
            yield served
    finally:
        await gateway.stop(0)


async def _until_ready(served: Served) -> None:
    async with asyncio.timeout(SECONDS):
        while not await served.roles():
            pass


@pytest.fixture
def serving() -> Serving:
    """`async with serving(**settings) as served`."""
    return _serving


@pytest.fixture
def helpers() -> Any:
    """This module, which importlib mode cannot import by name."""
    return sys.modules[__name__]
