"""What every door of the gateway opens on: one request, its text written to whoever asked as it comes."""

import asyncio
from collections.abc import Callable
from contextlib import ExitStack
from typing import TypeVar

from google.protobuf.message import Message
from msgspec.structs import replace

from ringroad.actors.gateway.caller import Caller
from ringroad.actors.gateway.naming import digest_of, name_of, request_id_of, resumed_from, salt_of, told
from ringroad.actors.gateway.peers import Peers
from ringroad.actors.gateway.quotas import Quotas
from ringroad.actors.gateway.resuming import Resuming
from ringroad.actors.gateway.samples import read, read_all, samples_from, submits_of
from ringroad.actors.gateway.session import Session
from ringroad.actors.gateway.sessions import Sessions
from ringroad.actors.gateway.stream import Answer
from ringroad.actors.gateway.tenants import Tenant
from ringroad.actors.gateway.wire import Offer, flow_from, stops_from, submit_from, tokens_from
from ringroad.actors.ledger.ledger import Record
from ringroad.actors.tracing import call, note
from ringroad.v1 import inference_pb2

_LONG_BYTES = 16 * 1024  # tokenizing more than this in place would make other streams wait

T = TypeVar("T")


class Generation:
    """Doors say what is asked as `inference.proto` does; each turns what comes back into its own words."""

    def __init__(
        self, offer: Offer, sessions: Sessions, peers: Peers, resuming: Resuming, quotas: Quotas
    ) -> None:
        self.offer = offer
        self._sessions = sessions
        self._peers = peers
        self._resuming = resuming
        self._quotas = quotas

    async def generate(self, request: inference_pb2.GenerateRequest, caller: Caller) -> None:
        """Writes a text, or several: deltas, then the final. Raises RingroadError for what cannot be served.

        Writes, not yields: so leaving cleans up at once.
        """
        with call():
            self._sessions.admit()
            async with self._quotas.stream(caller.tenant):
                await self._generate(request, caller)

    async def _generate(self, request: inference_pb2.GenerateRequest, caller: Caller) -> None:
        patience, tenant = caller.patience(), caller.tenant
        next_offset = resumed_from(request) if request.HasField("resume") else 0
        if request.HasField("resume"):
            name = name_of(tenant.name, request_id_of(request))
            sessions = [
                await self._resuming.resumed(name, patience, tenant=tenant, resumable=request.resumable)
            ]
        else:
            sessions = await self._asked(request, tenant, patience)
        with ExitStack() as readings:
            for session in sessions:
                readings.enter_context(self._sessions.reading(session, caller.expired))
            answers = [
                Answer(session.record, self.offer.tokenizer, next_offset, sample)
                for sample, session in enumerate(sessions)
            ]
            first = sessions[0]
            note(request_id=told(first.request_id), mode=first.record.submit.mode.value)
            await caller.named(told(first.request_id))
            if len(sessions) == 1:
                final = answers[0].final(await read(first, answers[0], caller.write))
            else:
                final = await read_all(sessions, answers, caller.write)
            usage, finish = final.final.usage, first.transcript.ending
            note(tokens=usage.completion_tokens, finish=finish.finish.value if finish else "")
            await caller.write(final)

    async def tokenize(self, request: inference_pb2.TokenizeRequest) -> list[int]:
        """The tokens of a text or a conversation. Raises InvalidField."""
        return await self._read(tokens_from, request)

    async def _asked(
        self, request: inference_pb2.GenerateRequest, tenant: Tenant, patience: float | None
    ) -> list[Session]:
        """The sessions of a request, one a sample: new ones, unless the same was asked for under the same
        name."""
        digest, count = digest_of(request), samples_from(request, self.offer.most_samples)
        flow = flow_from(request, tenant)
        if request.request_id:
            name = name_of(tenant.name, request_id_of(request))
            again = await self._resuming.again(
                name, digest, patience, tenant=tenant, resumable=request.resumable
            )
            if again is not None and count == 1:
                return [again]
        stops, salt = stops_from(request), salt_of(tenant.name, request.cache_salt)
        submit = await self._read(submit_from, request, self._peers.caches)
        submit = replace(submit, session=name_of(tenant.name, submit.session), salt=salt)
        self._peers.check(submit.mode)
        # Nobody could ask for one without a name again; and a ledger keeps no logprobs, and no samples.
        known = bool(request.request_id) or request.resumable
        recorded = known and submit.sampling.logprobs is None and count == 1
        charges = await self._quotas.charge(tenant, len(submit.prompt), submit.max_tokens, count)
        samples = [
            Session(
                Record(sample, stops, digest, request.echo, flow.priority),
                self.offer.tokenizer,
                resumable=request.resumable,
                recorded=recorded,
                flow=flow,
                charge=charge,
            )
            for sample, charge in zip(submits_of(submit, count), charges, strict=True)
        ]
        opened: list[Session] = []
        try:
            opened = self._sessions.open(samples, patience)
        finally:
            for sample in samples:
                if sample.charge is not None and sample not in opened:  # refused, or here already
                    sample.charge.void()
        return opened

    async def _read(self, read: Callable[..., T], request: Message, *more: object) -> T:
        structured = isinstance(request, inference_pb2.GenerateRequest) and request.HasField("structure")
        if structured or request.ByteSize() > _LONG_BYTES:
            return await asyncio.to_thread(read, request, self.offer, *more)
        return read(request, self.offer, *more)
