"""The service VllmEngine, as routers of SMG ask engines.

What it lacks (embeddings, profiles, the cache and its events, tokenizer files) is UNIMPLEMENTED.
"""

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar

import grpc.aio
from smg_grpc_proto.generated import vllm_engine_pb2

from ringroad.actors.errors import InvalidField
from ringroad.actors.gateway.control import ControlServicer
from ringroad.actors.gateway.generation import Generation
from ringroad.actors.gateway.keys import Scope
from ringroad.actors.gateway.peers import Peers
from ringroad.actors.gateway.smg.asking import named, request_of
from ringroad.actors.gateway.smg.callers import Engaged
from ringroad.v1 import control_pb2

SERVICE = vllm_engine_pb2.DESCRIPTOR.services_by_name["VllmEngine"]
_TYPE = "vllm-grpc"  # what routers know the protocol by
_MOST = 2**31 - 1  # that the protocol's counts hold

_Context = grpc.aio.ServicerContext[Any, Any]


class SmgServicer:
    """Says what the other services say in the words of VllmEngine."""

    SCOPES: ClassVar[Mapping[str, Scope]] = {
        "Generate": Scope.GENERATE,
        "Abort": Scope.GENERATE,
        "HealthCheck": Scope.GENERATE,
        "GetModelInfo": Scope.GENERATE,
        "GetServerInfo": Scope.CONTROL,
        "GetLoads": Scope.CONTROL,
    }

    def __init__(self, generation: Generation, control: ControlServicer, peers: Peers) -> None:
        self._generation = generation
        self._control = control
        self._peers = peers
        self._started = time.monotonic()
        self._heard = time.time()

    async def Generate(self, request: vllm_engine_pb2.GenerateRequest, context: _Context) -> None:
        """Streams the tokens of texts: with `stream` in pieces, and in any case each one's whole."""
        self._heard = time.time()
        asked = request_of(request)
        try:
            await self._generation.generate(asked, Engaged(context, asked, stream=request.stream))
        except InvalidField as error:
            raise named(error) from error

    async def Abort(
        self, request: vllm_engine_pb2.AbortRequest, context: _Context
    ) -> vllm_engine_pb2.AbortResponse:
        """Ends those of these that run."""
        for request_id in request.request_ids:
            await self._control.Abort(control_pb2.AbortRequest(request_id=request_id), context)
        return vllm_engine_pb2.AbortResponse()

    async def HealthCheck(
        self, request: vllm_engine_pb2.HealthCheckRequest, context: _Context
    ) -> vllm_engine_pb2.HealthCheckResponse:
        """Whether requests can be served now."""
        ready = self._peers.ready
        return vllm_engine_pb2.HealthCheckResponse(
            healthy=ready, message="ready" if ready else "no verifier is known"
        )

    async def GetModelInfo(
        self, request: vllm_engine_pb2.GetModelInfoRequest, context: _Context
    ) -> vllm_engine_pb2.GetModelInfoResponse:
        """The pair, by its large model: both have one tokenizer."""
        pair, tokenizer = self._generation.offer.pair, self._generation.offer.tokenizer
        return vllm_engine_pb2.GetModelInfoResponse(
            model_path=pair.large,
            tokenizer_path=pair.large,
            served_model_name=pair.name,
            is_generation=True,
            max_context_length=pair.context_length,
            max_req_input_len=pair.context_length - 1,
            vocab_size=pair.vocabulary,
            eos_token_ids=tokenizer.ends,
        )

    async def GetServerInfo(
        self, request: vllm_engine_pb2.GetServerInfoRequest, context: _Context
    ) -> vllm_engine_pb2.GetServerInfoResponse:
        """How busy it is, since when it runs, and how much at once."""
        load = await self._control.GetLoad(control_pb2.GetLoadRequest(), context)
        return vllm_engine_pb2.GetServerInfoResponse(
            active_requests=load.running + load.waiting,
            last_receive_timestamp=self._heard,
            uptime_seconds=time.monotonic() - self._started,
            server_type=_TYPE,
            data_parallel_size=1,
            max_num_seqs=load.capacity,
            constrained_decoding_start="first_token",
        )

    async def GetLoads(
        self, request: vllm_engine_pb2.GetLoadsRequest, context: _Context
    ) -> vllm_engine_pb2.GetLoadsResponse:
        """One load: this gateway's requests, and the tokens that verifiers hold. Raises InvalidField."""
        if request.dp_rank:
            raise InvalidField("dp_rank", "must be 0: there is one")
        if unknown := [name for name in request.include if name not in ("core", "all")]:
            raise InvalidField("include", f"{unknown[0]!r} is no section here; 'core' is")
        load = await self._control.GetLoad(control_pb2.GetLoadRequest(), context)
        server = await self._control.GetServerInfo(control_pb2.GetServerInfoRequest(), context)
        verifiers = [role for role in server.roles if role.name == "verifier"]
        of_prompts = [role.found_share for role in verifiers]
        one = vllm_engine_pb2.SchedulerLoad(
            num_running_reqs=load.running,
            num_waiting_reqs=load.waiting,
            num_total_reqs=load.running + load.waiting,
            num_used_tokens=min(sum(role.cached_tokens for role in verifiers), _MOST),
            cache_hit_rate=sum(of_prompts) / len(of_prompts) if of_prompts else 0.0,
            utilization=load.running / load.capacity,
            max_running_requests=load.capacity,
        )
        return vllm_engine_pb2.GetLoadsResponse(
            timestamp=datetime.now(UTC).isoformat(), version=server.version, dp_rank_count=1, loads=[one]
        )
