"""Streams of one request, here or at one of two gateways: what tests of resuming share."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import grpc
import grpc.aio

from ringroad.actors.messages import Submit
from ringroad.v1.inference_pb2 import (
    GenerateRequest,
)
from tests.gateway.ledgers import MemoryLedger, Store

TEXT = "né 🙂 日本, ab ST and so on".encode()


def asked(**more: Any) -> GenerateRequest:
    return GenerateRequest(**({"prompt": "hi", "request_id": "mine", "resumable": True} | more))


def rest(offset: int, **more: Any) -> GenerateRequest:
    return GenerateRequest(**({"request_id": "mine", "resume": {"next_offset": offset}} | more))


async def text_from(helpers: Any, call: Any, offset: int = 0) -> tuple[str, int, Any]:
    """What a stream says, where it ends, and its final."""
    text = ""
    async with asyncio.timeout(helpers.SECONDS):
        while (response := await call.read()).HasField("delta"):
            assert response.delta.offset == offset
            text += response.delta.text
            offset += len(response.delta.token_ids)
        assert response.HasField("final")
        assert await call.read() is grpc.aio.EOF
    return text, offset, response.final


async def received(call: Any, count: int) -> str:
    """The text of exactly `count` tokens, read from a stream."""
    text = ""
    while count > 0:
        delta = (await call.read()).delta
        text += delta.text
        count -= len(delta.token_ids)
    assert count == 0
    return text


class Cluster:
    """Two gateways with routers of their own and one ledger."""

    def __init__(self, serving: Any, **settings: Any) -> None:
        self.store = Store()
        self.ledgers = [MemoryLedger(self.store, name) for name in "ab"]
        self._serving = serving
        self._settings = settings
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Any:
        return self, *[
            await self._stack.enter_async_context(self._serving(ledger=ledger, **self._settings))
            for ledger in self.ledgers
        ]

    async def __aexit__(self, *error: Any) -> None:
        await self._stack.aclose()


async def begun(served: Any, text: bytes, **more: Any) -> tuple[Any, Submit]:
    """A request of which so much is committed and read."""
    call = served.inference.Generate(asked(**more))
    submit = await served.router.submitted()
    if text:
        served.router.tokens(submit, 0, text)
        await received(call, len(text))
    return call, submit
