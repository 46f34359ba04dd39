"""The gateway: a gRPC server in front of a router.

Public here and beside it (nothing else of this package is meant for other rooms):

- `Gateway(config, pair, tokenizer, link, policies, version, ledger=None)`; `await start()` binds and serves,
  `port` is then the bound port; `await stop(grace_seconds)` drains and stops. Needs no Ray.
- `config.GatewayConfig`, `config.Pair(name, large, small, context_length, vocabulary)`, and
  `config.Policies(default, thresholds)`: what requests may name in `routing.policy`.
- `link.RouterLink`: `await send(ToRouter)`, `await receive() -> ToGateway`; both raise
  `link.LinkLost` while the router is gone, and receiving is tried again every
  `config.retry_seconds`. The gateway sends `Submit` and `Cancel` and reads `Chunk` and `Roster`.
  A `Submit.session` is made here, "<request id>~<tag>.<number>", and unique among gateways.
- `ringroad.actors.tokenizer.Tokenizer.open(path)`.

What the gateway expects of a router: chunks of a session in order, from offset 0 on or from what was
committed before; `counts` with each, at least the last; an answer to every `Cancel` of a session it
has not ended (its place is given away after `config.settle_seconds` without one); a `Roster` as soon
as the link is up and again after it was lost, for nothing is served, and nothing goes on, before one
names who must speak.
"""

import asyncio
import logging

import grpc.aio
from google.protobuf.descriptor import ServiceDescriptor
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from ringroad.actors.errors import traced
from ringroad.actors.gateway.admin import PROBES, Admin
from ringroad.actors.gateway.admission import Admission
from ringroad.actors.gateway.config import GatewayConfig, Pair, Policies
from ringroad.actors.gateway.control import ControlServicer
from ringroad.actors.gateway.generation import Generation
from ringroad.actors.gateway.inference import InferenceServicer
from ringroad.actors.gateway.keys import Scope
from ringroad.actors.gateway.kserve import door as kserve
from ringroad.actors.gateway.limits import grpc_options
from ringroad.actors.gateway.link import LinkLost, RouterLink
from ringroad.actors.gateway.metrics import Metrics
from ringroad.actors.gateway.noledger import NoLedger
from ringroad.actors.gateway.openai.door import OpenAi, errors
from ringroad.actors.gateway.peers import Peers
from ringroad.actors.gateway.quotas import Quotas
from ringroad.actors.gateway.resuming import Resuming
from ringroad.actors.gateway.samples import MAX_SAMPLES
from ringroad.actors.gateway.serving import Servicer, handlers
from ringroad.actors.gateway.sessions import Sessions
from ringroad.actors.gateway.smg import door as smg
from ringroad.actors.gateway.static import page_routes
from ringroad.actors.gateway.web import Web, watched
from ringroad.actors.gateway.wire import Offer
from ringroad.actors.grammars import Grammars
from ringroad.actors.ledger.ledger import Ledger
from ringroad.actors.messages import Chunk, Roster
from ringroad.actors.tokenizer import Tokenizer
from ringroad.v1 import control_pb2, inference_pb2

_log = logging.getLogger(__name__)
_INFERENCE = inference_pb2.DESCRIPTOR.services_by_name["InferenceService"]
_CONTROL = control_pb2.DESCRIPTOR.services_by_name["ControlService"]
STEP_END = b"\n\n"
_FLUSH_SECONDS = 1.0  # for last messages to reach their clients


class Gateway:
    """Serves all that is gRPC on one port, health and reflection too, and what is HTTP on others."""

    def __init__(
        self,
        config: GatewayConfig,
        pair: Pair,
        tokenizer: Tokenizer,
        link: RouterLink,
        policies: Policies,
        version: str,
        ledger: Ledger | None = None,
    ) -> None:
        """Raises ValueError for a default mode without its model, a default policy not offered, and keys or
        certificates that cannot be read."""
        if config.default_mode not in pair.modes:
            raise ValueError(f"default_mode {config.default_mode} needs a small model")
        if policies.default not in policies.thresholds:
            raise ValueError(
                f"policy {policies.default} is not offered; {', '.join(policies.thresholds)} are"
            )
        modes = config.default_mode, config.default_max_tokens, Grammars(lambda: tokenizer)
        offer = Offer(
            pair,
            tokenizer,
            policies,
            *modes,
            breaks=tokenizer.containing(STEP_END),
            most_samples=min(MAX_SAMPLES, config.max_sessions),
        )
        self.port = config.port
        self._config = config
        self._link = link
        self._peers = Peers()
        ledger = NoLedger() if ledger is None else ledger
        self._sessions = Sessions(config, link, self._peers, ledger)
        self._resuming = Resuming(config, tokenizer, ledger, self._sessions, self._peers)
        parts = offer, self._sessions, self._peers, self._resuming
        generation = Generation(*parts, Quotas(ledger))
        control = ControlServicer(config, *parts, version)
        self._doors: dict[ServiceDescriptor, Servicer] = {
            _INFERENCE: InferenceServicer(generation),
            _CONTROL: control,
        }
        if config.serve_smg:
            self._doors[smg.SERVICE] = smg.SmgServicer(generation, control, self._peers)
        if config.serve_kserve:
            self._doors[kserve.SERVICE] = kserve.KserveServicer(generation, self._peers, version)
        self._admission = Admission(config)
        self._webs: dict[str, Web] = {}
        if config.admin_port is not None:
            known = None if isinstance(ledger, NoLedger) else ledger
            told = version, pair.modes, config.max_sessions, self._sessions, self._peers, known
            routes = Admin(self._peers, Metrics(*told)).routes
            self._webs["admin"] = Web(
                routes,
                config.admin_host,
                config.admin_port,
                most_bytes=config.max_message_bytes,
                limits=config.limits,
                middlewares=[self._admission.guard(Scope.ADMIN, free=PROBES)],
                tls=self._admission.admin_tls(),
            )
        if config.http_port is not None:
            self._webs["http"] = Web(
                OpenAi(generation, self._admission.keys).routes + page_routes(),
                config.host,
                config.http_port,
                most_bytes=config.max_message_bytes,
                limits=config.limits,
                middlewares=[errors, watched(self._sessions.measures.refused)],
                tls=self._admission.tls(),
            )
        self._health = health.aio.HealthServicer()
        self._server: grpc.aio.Server | None = None
        self._listener: asyncio.Task[None] | None = None
        self._aborts: asyncio.Task[None] | None = None

    @property
    def admin_port(self) -> int | None:
        """Where operators ask, once that has started; None where nobody may."""
        return self._webs["admin"].port if "admin" in self._webs else None

    @property
    def http_port(self) -> int | None:
        """Where OpenAI's clients ask, once that has started; None where they cannot."""
        return self._webs["http"].port if "http" in self._webs else None

    async def start(self) -> None:
        """Binds and serves. Raises RuntimeError when a port is taken."""
        config = self._config
        options = grpc_options(config.limits, config.max_message_bytes)
        self._server = grpc.aio.server(options=options)
        keys, refused = self._admission.keys, self._sessions.measures.refused
        self._server.add_generic_rpc_handlers(
            [handlers(service, servicer, keys, refused) for service, servicer in self._doors.items()]
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = [service.full_name for service in self._doors]
        names += [health.SERVICE_NAME, reflection.SERVICE_NAME]
        reflection.enable_server_reflection(names, self._server)
        host = f"[{self._config.host}]" if ":" in self._config.host else self._config.host
        self.port = self._admission.bind(self._server, f"{host}:{self._config.port}")
        try:
            for web in self._webs.values():
                await web.start()
        except RuntimeError:
            await self._close()
            raise
        await self._health.set(_CONTROL.full_name, health_pb2.HealthCheckResponse.SERVING)
        await self._announce()
        await self._server.start()
        self._listener = asyncio.create_task(self._listen())
        self._listener.add_done_callback(_report)
        self._aborts = asyncio.create_task(self._resuming.hear_aborts())
        _log.info("gateway serves on %s:%d", host, self.port)

    async def stop(self, grace_seconds: float | None = None) -> None:
        """Takes no more requests, gives running ones `grace_seconds` (default: the config's), stops."""
        if self._server is None or self._listener is None or self._aborts is None:
            return
        await self._health.enter_graceful_shutdown()
        await self._sessions.drain(self._config.grace_seconds if grace_seconds is None else grace_seconds)
        await self._close()
        self._listener.cancel()
        self._aborts.cancel()
        await asyncio.gather(self._listener, self._aborts, return_exceptions=True)

    async def _close(self) -> None:
        assert self._server is not None
        await asyncio.gather(self._server.stop(_FLUSH_SECONDS), *(web.stop() for web in self._webs.values()))

    def check_health(self) -> None:
        """Raises RuntimeError when the gateway no longer hears its router and never will."""
        if self._listener is None or self._listener.done():
            raise RuntimeError("the gateway no longer listens to its router")

    async def _listen(self) -> None:
        try:
            while True:
                try:
                    await self._hear()
                except LinkLost:
                    _log.warning("the router is gone; trying again")
                    found = bool(self._peers.roster)
                    await self._without_router()
                    if not found:  # else another is tried at once
                        await asyncio.sleep(self._config.retry_seconds)
        finally:  # a bug, or the gateway has stopped: nobody will hear from a router any more
            await self._without_router()
            self._sessions.give_up("the gateway no longer hears its router")

    async def _hear(self) -> None:
        while True:
            match await self._link.receive():
                case Chunk() as chunk:
                    self._sessions.deliver(chunk)
                case Roster() as roster:
                    self._peers.told(roster)
                    self._sessions.measures.mark()
                    self._sessions.found()
                    await self._announce()

    async def _without_router(self) -> None:
        self._peers.lost()
        self._sessions.lost()
        await self._announce()

    async def _announce(self) -> None:
        states = health_pb2.HealthCheckResponse
        state = states.SERVING if self._peers.ready else states.NOT_SERVING
        for service in ("", *(door.full_name for door in self._doors if door is not _CONTROL)):
            await self._health.set(service, state)


def _report(listener: asyncio.Task[None]) -> None:
    if not listener.cancelled():
        _log.critical("the gateway no longer hears its router: %s", traced(listener.exception()))
