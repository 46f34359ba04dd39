"""The service that generates."""

import asyncio
import time
from collections.abc import Callable
from typing import Any, TypeVar

import grpc.aio
from google.protobuf.message import Message

from ringroad.actors.gateway.peers import Peers
from ringroad.actors.gateway.sessions import Sessions
from ringroad.actors.gateway.stream import Answer
from ringroad.actors.gateway.wire import Offer, stops_from, submit_from, tokens_from
from ringroad.actors.messages import Finish
from ringroad.v1 import inference_pb2

_LONG_BYTES = 16 * 1024  # tokenizing more than this in place would make other streams wait

T = TypeVar("T")


class InferenceServicer:
    """InferenceService of `inference.proto`. Methods raise what is wrong; `serving.py` makes it a status."""

    def __init__(self, offer: Offer, sessions: Sessions, peers: Peers) -> None:
        self._offer = offer
        self._sessions = sessions
        self._peers = peers

    async def Generate(
        self, request: inference_pb2.GenerateRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> None:
        """Streams one text: deltas, then the final. Writes, not yields: so leaving cleans up at once."""
        received = time.monotonic()
        stops = stops_from(request)
        submit = await self._read(submit_from, request, self._peers.caches)
        self._peers.check(submit.mode)
        async with self._sessions.open(submit) as session:
            answer = Answer(submit, stops, self._offer.tokenizer, received)
            while True:
                chunk = await session.get()
                if delta := answer.delta(chunk):
                    await context.write(delta)
                if chunk.finish is not None:
                    break
                if answer.stopped:
                    self._sessions.cancel(session, Finish.STOP)
            await context.write(answer.final(chunk))

    async def Tokenize(
        self, request: inference_pb2.TokenizeRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> inference_pb2.TokenizeResponse:
        """The tokens of a text or a conversation."""
        tokens = await self._read(tokens_from, request)
        return inference_pb2.TokenizeResponse(
            token_ids=tokens, context_length=self._offer.pair.context_length
        )

    async def _read(self, read: Callable[..., T], request: Message, *more: object) -> T:
        if request.ByteSize() > _LONG_BYTES:
            return await asyncio.to_thread(read, request, self._offer, *more)
        return read(request, self._offer, *more)
