"""The service that generates."""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

import grpc.aio
from google.protobuf.message import Message

from ringroad.actors.gateway.naming import digest_of, request_id_of, resumed_from
from ringroad.actors.gateway.peers import Peers
from ringroad.actors.gateway.resuming import Resuming
from ringroad.actors.gateway.session import Session
from ringroad.actors.gateway.sessions import Sessions
from ringroad.actors.gateway.stream import Answer
from ringroad.actors.gateway.wire import Offer, stops_from, submit_from, tokens_from
from ringroad.actors.ledger.ledger import Record
from ringroad.v1 import inference_pb2

_LONG_BYTES = 16 * 1024  # tokenizing more than this in place would make other streams wait

_EXPIRED_SECONDS = 0.1
_NAME = "ringroad-request-id"

T = TypeVar("T")
_Context = grpc.aio.ServicerContext[Any, Any]


class InferenceServicer:
    """InferenceService of `inference.proto`. Methods raise what is wrong; `serving.py` makes it a status."""

    def __init__(self, offer: Offer, sessions: Sessions, peers: Peers, resuming: Resuming) -> None:
        self._offer = offer
        self._sessions = sessions
        self._peers = peers
        self._resuming = resuming

    async def Generate(self, request: inference_pb2.GenerateRequest, context: _Context) -> None:
        """Streams one text: deltas, then the final. Writes, not yields: so leaving cleans up at once."""
        self._sessions.admit()
        patience = context.time_remaining()
        next_offset = resumed_from(request) if request.HasField("resume") else 0
        if request.HasField("resume"):
            session = await self._resuming.resumed(
                request_id_of(request), patience, resumable=request.resumable
            )
        else:
            session = await self._asked(request, patience)
        with self._sessions.reading(session, lambda: _expired(context)):
            answer = Answer(session.record, self._offer.tokenizer, next_offset)
            await context.send_initial_metadata(((_NAME, session.request_id),))
            ending = None
            while ending is None:
                part = await session.transcript.after(answer.have)
                if delta := answer.delta(part):
                    await context.write(delta)
                ending = part.ending
            await context.write(answer.final(ending))

    async def Tokenize(
        self, request: inference_pb2.TokenizeRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> inference_pb2.TokenizeResponse:
        """The tokens of a text or a conversation."""
        tokens = await self._read(tokens_from, request)
        return inference_pb2.TokenizeResponse(
            token_ids=tokens, context_length=self._offer.pair.context_length
        )

    async def _asked(self, request: inference_pb2.GenerateRequest, patience: float | None) -> Session:
        """The session of a request: a new one, unless the same was asked for under the same name."""
        digest = digest_of(request)
        if request.request_id:
            again = await self._resuming.again(
                request_id_of(request), digest, patience, resumable=request.resumable
            )
            if again is not None:
                return again
        stops = stops_from(request)
        submit = await self._read(submit_from, request, self._peers.caches)
        self._peers.check(submit.mode)
        record = Record(submit, stops, digest, request.echo)
        # Nobody could ask for one without a name again; and a ledger keeps no logprobs.
        recorded = (bool(request.request_id) or request.resumable) and submit.sampling.logprobs is None
        session = Session(record, self._offer.tokenizer, resumable=request.resumable, recorded=recorded)
        return self._sessions.open(session, patience)

    async def _read(self, read: Callable[..., T], request: Message, *more: object) -> T:
        structured = isinstance(request, inference_pb2.GenerateRequest) and request.HasField("structure")
        if structured or request.ByteSize() > _LONG_BYTES:
            return await asyncio.to_thread(read, request, self._offer, *more)
        return read(request, self._offer, *more)


def _expired(context: _Context) -> bool:
    """Whether a stream that has been cut was cut by its deadline: the client may be a little ahead of us."""
    remaining = context.time_remaining()
    return remaining is not None and remaining < _EXPIRED_SECONDS
