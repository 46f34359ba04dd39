"""What a process tells: log lines for people or machines, and spans to where an operator wants them."""

import json
import logging
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from ringroad.actors import tracing
from ringroad.cluster.telemetry import TelemetryConfig, begin, provider


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    log = logging.getLogger("ringroad")
    level, propagate = log.level, log.propagate
    yield
    for handler in list(log.handlers):
        log.removeHandler(handler)
        handler.close()
    log.setLevel(level)
    log.propagate = propagate
    tracing.collect(None)
    tracing.called("")


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """An OTLP collector on loopback."""

    def __init__(self) -> None:
        self.heard: list[Any] = []
        self._server = grpc.server(futures.ThreadPoolExecutor(1))
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(self, self._server)
        self.endpoint = f"http://127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def Export(self, request: Any, context: Any) -> Any:
        self.heard.append(request)
        return trace_service_pb2.ExportTraceServiceResponse()

    def close(self) -> None:
        self._server.stop(None).wait()


def test_machines_get_an_object_a_line_with_what_was_said_beside_it(tmp_path: Path) -> None:
    begin(TelemetryConfig(log="json", log_level="info", log_folder=tmp_path / "logs"), "gateway", 2)
    log = logging.getLogger("ringroad.actors.gateway")
    log.info("request %s: %s", "a", "stop", extra={"request_id": "a", "tokens": 3})
    log.debug("not this")
    try:
        raise ValueError("boom")
    except ValueError:
        log.exception("two\nlines")
    lines = (tmp_path / "logs/gateway-2.log").read_text().splitlines()
    first, second = map(json.loads, lines)
    assert first.pop("time")
    assert first == {
        "level": "INFO",
        "logger": "ringroad.actors.gateway",
        "message": "request a: stop",
        "role": "gateway",
        "replica": 2,
        "request_id": "a",
        "tokens": 3,
    }
    assert (second["level"], second["message"]) == ("ERROR", "two\nlines")
    assert "ValueError: boom" in second["exc_info"]


def test_people_get_a_line_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    begin(TelemetryConfig(), "router", 0)
    logging.getLogger("ringroad.x").warning("lost a %s", "verifier")
    logging.getLogger("ringroad.x").info("not this")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("WARNING ringroad.x: lost a verifier")


def test_to_begin_twice_is_to_say_things_once(capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        begin(TelemetryConfig(), "router", 0)
    logging.getLogger("ringroad.x").warning("once")
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize("by_environment", [False, True])
def test_spans_reach_the_collector_and_say_whose_they_are(
    monkeypatch: pytest.MonkeyPatch, by_environment: bool
) -> None:
    collector = Collector()
    try:
        if by_environment:
            monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint)
        endpoint = "" if by_environment else collector.endpoint
        made = provider(TelemetryConfig(traces=True, traces_endpoint=endpoint), "verifier", 1)
        tracing.collect(made.get_tracer("ringroad"))
        with tracing.call():
            pass
        made.shutdown()  # sends what is left
    finally:
        collector.close()
    (request,) = collector.heard
    (resource,) = request.resource_spans
    said = {each.key: each.value.string_value for each in resource.resource.attributes}
    assert (said["service.name"], said["service.instance.id"]) == ("ringroad", "verifier-1")
    assert said["ringroad.role"] == "verifier"
    assert [span.name for scope in resource.scope_spans for span in scope.spans] == ["ringroad.request"]


def test_a_share_of_none_traces_nobody_but_who_asks_for_it() -> None:
    made = provider(
        TelemetryConfig(traces=True, traces_share=0.0, traces_endpoint="http://127.0.0.1:1"), "g", 0
    )
    tracing.collect(made.get_tracer("ringroad"))
    with tracing.call():
        assert tracing.place_of(tracing.current()) == ""
    tracing.called("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    with tracing.call():
        assert tracing.place_of(tracing.current()).startswith("00-0af7651916cd43dd8448eb211c80319c-")
    tracing.collect(None)
    for processor in made._active_span_processor._span_processors:  # else it tries to send for seconds
        processor._batch_processor._exporter.shutdown()  # type: ignore[attr-defined]
    made.shutdown()


def test_nothing_is_traced_that_nobody_asked_for() -> None:
    begin(TelemetryConfig(), "router", 0)
    assert tracing._tracer is None
