"""The service that tells how the cluster is, and ends requests."""

from collections.abc import Mapping
from typing import Any, ClassVar

import grpc.aio
from google.protobuf.timestamp_pb2 import Timestamp

from ringroad.actors.errors import Unavailable
from ringroad.actors.gateway.answers import mode_number, pair_of, role_of
from ringroad.actors.gateway.config import GatewayConfig
from ringroad.actors.gateway.keys import Scope
from ringroad.actors.gateway.naming import name_of
from ringroad.actors.gateway.peers import Peers
from ringroad.actors.gateway.resuming import Resuming
from ringroad.actors.gateway.serving import asking
from ringroad.actors.gateway.sessions import Sessions
from ringroad.actors.gateway.wire import Offer
from ringroad.actors.messages import Speaker
from ringroad.v1 import control_pb2

_Context = grpc.aio.ServicerContext[Any, Any]


class ControlServicer:
    """ControlService of `control.proto`."""

    SCOPES: ClassVar[Mapping[str, Scope]] = {
        "GetServerInfo": Scope.CONTROL,
        "ListModels": Scope.GENERATE,
        "GetLoad": Scope.CONTROL,
        "Abort": Scope.GENERATE,
    }

    def __init__(
        self,
        config: GatewayConfig,
        offer: Offer,
        sessions: Sessions,
        peers: Peers,
        resuming: Resuming,
        version: str,
    ) -> None:
        self._config = config
        self._offer = offer
        self._sessions = sessions
        self._peers = peers
        self._resuming = resuming
        self._version = version
        self._started_at = Timestamp()
        self._started_at.GetCurrentTime()

    async def GetServerInfo(
        self, request: control_pb2.GetServerInfoRequest, context: _Context
    ) -> control_pb2.GetServerInfoResponse:
        """What this server is, and its roles as the router last told."""
        return control_pb2.GetServerInfoResponse(
            version=self._version,
            started_at=self._started_at,
            roles=map(role_of, self._peers.roster),
            default_mode=mode_number(self._offer.default_mode),
            modes=map(mode_number, self._offer.pair.modes),
            ledger=self._resuming.ledger,
        )

    async def ListModels(
        self, request: control_pb2.ListModelsRequest, context: _Context
    ) -> control_pb2.ListModelsResponse:
        """The one pair a gateway serves."""
        return control_pb2.ListModelsResponse(models=[pair_of(self._offer.pair)])

    async def GetLoad(
        self, request: control_pb2.GetLoadRequest, context: _Context
    ) -> control_pb2.GetLoadResponse:
        """Counts of this gateway, and how full its verifiers are."""
        measures, router = self._sessions.measures, self._peers.router
        return control_pb2.GetLoadResponse(
            running=self._sessions.running,
            waiting=self._sessions.waiting,
            capacity=self._config.max_sessions,
            committed_tokens=measures.committed,
            queue_wait_seconds=self._sessions.wait_seconds,
            tokens_per_second=measures.tokens_per_second(),
            kv_share=self._peers.kv_share,
            consult_backlog=router.backlog if router else 0,
            large_tokens=measures.spoken(Speaker.LARGE),
            accepted_tokens=measures.spoken(Speaker.SMALL_ACCEPTED),
            drafted_tokens=sum(mode.drafted for mode in measures.modes.values()),
            consults=sum(mode.consults for mode in measures.modes.values()),
        )

    async def Abort(self, request: control_pb2.AbortRequest, context: _Context) -> control_pb2.AbortResponse:
        """Ends a request of whoever asks, whether it runs or waits, here or at another gateway."""
        name = name_of(asking().name, request.request_id)
        here = self._sessions.abort(name)
        try:  # also where it runs here: another gateway may have begun it while the ledger was away
            there = await self._resuming.abort(name)
        except Unavailable:
            if not here:
                raise
            there = False
        return control_pb2.AbortResponse(aborted=here or there)
