"""A gateway that says what a test tells it, and a launcher that starts one instead of a cluster."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from ringroad.v1 import control_pb2, control_pb2_grpc, inference_pb2, inference_pb2_grpc

Request = inference_pb2.GenerateRequest
Response = inference_pb2.GenerateResponse
Script = Callable[[Request, grpc.ServicerContext], Iterator[Response]]
NOBODY = "127.0.0.1:1"  # a reserved port
USAGE = inference_pb2.Usage(
    prompt_tokens=3,
    completion_tokens=4,
    drafted_tokens=6,
    accepted_tokens=2,
    consults=1,
    small_tokens=3,
    large_tokens=1,
    time_to_first_token_seconds=0.25,
    total_seconds=0.5,
    seed=2**64 - 1,
    degraded=["drafter"],
)


def delta(text: str, *tokens: tuple[int, inference_pb2.Speaker.ValueType], offset: int = 0) -> Response:
    ids, speakers = [id for id, _ in tokens], [speaker for _, speaker in tokens]
    return Response(delta=inference_pb2.Delta(text=text, token_ids=ids, offset=offset, speakers=speakers))


def final(reason: inference_pb2.FinishReason.ValueType, error: str = "") -> Response:
    return Response(final=inference_pb2.Final(finish_reason=reason, usage=USAGE, error=error, request_id="r"))


HELLO = (
    delta("Hel", (1, inference_pb2.SPEAKER_SMALL_KEPT), (2, inference_pb2.SPEAKER_SMALL_ACCEPTED)),
    delta("lo 世界\n", (3, inference_pb2.SPEAKER_LARGE), (4, inference_pb2.SPEAKER_SMALL_KEPT), offset=2),
)
STOP, LENGTH = final(inference_pb2.FINISH_REASON_STOP), final(inference_pb2.FINISH_REASON_LENGTH)


def plain(request: Request, *, seed: bool = True) -> Request:
    """A request without what the client adds to every one, and without a seed where it drew that."""
    assert request.request_id
    assert request.resumable
    bare = Request()
    bare.CopyFrom(request)
    bare.request_id = ""
    if not seed:
        bare.sampling.ClearField("seed")
    return bare


def says(*responses: Response) -> Script:
    return lambda request, context: iter(responses)


def refuses(
    code: grpc.StatusCode, message: str, *, retry_seconds: float | None = None, **fields: str
) -> Script:
    def script(request: Request, context: grpc.ServicerContext) -> Iterator[Response]:
        status = status_pb2.Status(code=code.value[0], message=message)
        if fields:
            violation = error_details_pb2.BadRequest.FieldViolation
            violations = [violation(field=f.replace("__", "."), description=why) for f, why in fields.items()]
            status.details.add().Pack(error_details_pb2.BadRequest(field_violations=violations))
        if retry_seconds is not None:
            retry = error_details_pb2.RetryInfo()
            retry.retry_delay.FromTimedelta(timedelta(seconds=retry_seconds))
            status.details.add().Pack(retry)
        context.abort_with_status(rpc_status.to_status(status))
        yield Response()

    return script


class FakeGateway(inference_pb2_grpc.InferenceServiceServicer, control_pb2_grpc.ControlServiceServicer):
    """On loopback while entered; `ended` is set when a call of Generate is over for its client."""

    def __init__(self, script: Script | None = None, *, serving: bool = True, port: int = 0) -> None:
        self.script = script or says(*HELLO, STOP)
        self.requests: list[Request] = []
        self.aborted: list[str] = []
        self.heard_abort = threading.Event()
        self.seen: list[Message] = []
        self.deadlines: list[float | None] = []
        self.ended = threading.Event()
        self._closing = threading.Event()
        pings = ("grpc.http2.min_ping_interval_without_data_ms", 500)  # as gateways allow
        self._server = grpc.server(ThreadPoolExecutor(8), options=[pings])
        inference_pb2_grpc.add_InferenceServiceServicer_to_server(self, self._server)
        control_pb2_grpc.add_ControlServiceServicer_to_server(self, self._server)
        states = health_pb2.HealthCheckResponse
        checks = health.HealthServicer()
        checks.set("ringroad.v1.InferenceService", states.SERVING if serving else states.NOT_SERVING)
        health_pb2_grpc.add_HealthServicer_to_server(checks, self._server)
        self.target = f"127.0.0.1:{self._server.add_insecure_port(f'127.0.0.1:{port}')}"

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._server.stop(None).wait()

    def hold(self, request: Request, context: grpc.ServicerContext) -> Iterator[Response]:
        """A script: one delta, and then nothing."""
        yield HELLO[0]
        self._closing.wait()

    def Generate(self, request: Request, context: Any) -> Iterator[Response]:
        self.requests.append(request)
        self.deadlines.append(context.time_remaining())
        context.add_callback(self.ended.set)
        yield from self.script(request, context)

    def Tokenize(
        self, request: inference_pb2.TokenizeRequest, context: Any
    ) -> inference_pb2.TokenizeResponse:
        self.seen.append(request)
        return inference_pb2.TokenizeResponse(token_ids=[5, 6], context_length=64)

    def GetServerInfo(self, request: Any, context: Any) -> control_pb2.GetServerInfoResponse:
        role = control_pb2.Role(
            name="verifier", model="big", ready=True, sessions=2, cached_tokens=1234, memory_bytes=3_000_000
        )
        return control_pb2.GetServerInfoResponse(version=os.getcwd(), ledger="away", roles=[role])

    def ListModels(self, request: Any, context: Any) -> control_pb2.ListModelsResponse:
        pair = control_pb2.ModelPair(name="pair", large="big", small="tiny", context_length=64)
        return control_pb2.ListModelsResponse(models=[pair])

    def GetLoad(self, request: Any, context: Any) -> control_pb2.GetLoadResponse:
        return control_pb2.GetLoadResponse(running=1, waiting=2, capacity=32, committed_tokens=99)

    def Abort(self, request: control_pb2.AbortRequest, context: Any) -> control_pb2.AbortResponse:
        self.aborted.append(request.request_id)
        self.heard_abort.set()
        return control_pb2.AbortResponse(aborted=request.request_id == "known")


def run(config_path: Path | None) -> None:
    """Stands in for `launch.run` in a process of its own; $RINGROAD_FAKE says how it behaves."""
    from ringroad.cluster.config import load_config

    behaviour = os.environ["RINGROAD_FAKE"]
    if behaviour == "fail":
        sys.exit("\n".join(f"line {n} of the failure" for n in range(100)))
    stop = threading.Event()
    ignored = behaviour == "stubborn"
    signal.signal(signal.SIGTERM, signal.SIG_IGN if ignored else lambda *_: stop.set())
    subprocess.Popen(["sleep", "600"])  # a worker that a clumsy launcher leaves behind
    with FakeGateway(serving=behaviour != "not ready", port=load_config(config_path).gateway.port):
        stop.wait()
