"""What every door of the gateway opens on: one request, its text written to whoever asked as it comes."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from google.protobuf.message import Message
from msgspec.structs import replace

from ringroad.actors.gateway.caller import Caller
from ringroad.actors.gateway.naming import digest_of, name_of, request_id_of, resumed_from, salt_of, told
from ringroad.actors.gateway.peers import Peers
from ringroad.actors.gateway.resuming import Resuming
from ringroad.actors.gateway.session import Session
from ringroad.actors.gateway.sessions import Sessions
from ringroad.actors.gateway.stream import Answer
from ringroad.actors.gateway.wire import Offer, stops_from, submit_from, tokens_from
from ringroad.actors.ledger.ledger import Record
from ringroad.v1 import inference_pb2

_LONG_BYTES = 16 * 1024  # tokenizing more than this in place would make other streams wait

T = TypeVar("T")


class Generation:
    """Doors say what is asked as `inference.proto` does; each turns what comes back into its own words."""

    def __init__(self, offer: Offer, sessions: Sessions, peers: Peers, resuming: Resuming) -> None:
        self.offer = offer
        self._sessions = sessions
        self._peers = peers
        self._resuming = resuming

    async def generate(self, request: inference_pb2.GenerateRequest, caller: Caller) -> None:
        """Writes one text: deltas, then the final. Raises RingroadError for what cannot be served.

        Writes, not yields: so leaving cleans up at once.
        """
        self._sessions.admit()
        patience, tenant = caller.patience(), caller.tenant.name
        next_offset = resumed_from(request) if request.HasField("resume") else 0
        if request.HasField("resume"):
            session = await self._resuming.resumed(
                name_of(tenant, request_id_of(request)), patience, resumable=request.resumable
            )
        else:
            session = await self._asked(request, tenant, patience)
        with self._sessions.reading(session, caller.expired):
            answer = Answer(session.record, self.offer.tokenizer, next_offset)
            await caller.named(told(session.request_id))
            ending = None
            while ending is None:
                part = await session.transcript.after(answer.have)
                if delta := answer.delta(part):
                    await caller.write(delta)
                ending = part.ending
            await caller.write(answer.final(ending))

    async def tokenize(self, request: inference_pb2.TokenizeRequest) -> list[int]:
        """The tokens of a text or a conversation. Raises InvalidField."""
        return await self._read(tokens_from, request)

    async def _asked(
        self, request: inference_pb2.GenerateRequest, tenant: str, patience: float | None
    ) -> Session:
        """The session of a request: a new one, unless the same was asked for under the same name."""
        digest = digest_of(request)
        if request.request_id:
            again = await self._resuming.again(
                name_of(tenant, request_id_of(request)), digest, patience, resumable=request.resumable
            )
            if again is not None:
                return again
        stops, salt = stops_from(request), salt_of(tenant, request.cache_salt)
        submit = await self._read(submit_from, request, self._peers.caches)
        submit = replace(submit, session=name_of(tenant, submit.session), salt=salt)
        self._peers.check(submit.mode)
        record = Record(submit, stops, digest, request.echo)
        # Nobody could ask for one without a name again; and a ledger keeps no logprobs.
        recorded = (bool(request.request_id) or request.resumable) and submit.sampling.logprobs is None
        session = Session(record, self.offer.tokenizer, resumable=request.resumable, recorded=recorded)
        return self._sessions.open(session, patience)

    async def _read(self, read: Callable[..., T], request: Message, *more: object) -> T:
        structured = isinstance(request, inference_pb2.GenerateRequest) and request.HasField("structure")
        if structured or request.ByteSize() > _LONG_BYTES:
            return await asyncio.to_thread(read, request, self.offer, *more)
        return read(request, self.offer, *more)
