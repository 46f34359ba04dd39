"""What a process tells about itself besides metrics: its log, and spans where an operator wants them."""

import logging
import os
import sys
from logging.handlers import WatchedFileHandler
from pathlib import Path
from typing import Literal

from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from pydantic import BaseModel, ConfigDict, Field
from pythonjsonlogger.json import JsonFormatter

from ringroad.actors import tracing
from ringroad.cluster.version import version

_TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_JSON = "%(asctime)s %(levelname)s %(name)s %(message)s"


class TelemetryConfig(BaseModel):
    """Frozen; an unknown key raises."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    # Lines for people, or an object a line for machines; of this level and above. At "info" the gateway says
    # how each request ended.
    log: Literal["text", "json"] = "text"
    log_level: Literal["debug", "info", "warning", "error"] = "warning"
    # Where each process keeps a file of its own, which may be rotated; None: standard error, which Ray keeps
    # in its session's folder and repeats, with a prefix, where the cluster was started.
    log_folder: Path | None = None
    # Whether requests are traced, and where spans go by OTLP over gRPC; empty: where the environment of the
    # cluster's processes says, by OTEL_EXPORTER_OTLP_ENDPOINT and its like.
    traces: bool = False
    traces_endpoint: str = ""
    # Of requests whose client does not say whether, the share that is traced; None: as OTEL_TRACES_SAMPLER
    # says, or all.
    traces_share: float | None = Field(default=None, ge=0, le=1)


def begin(config: TelemetryConfig, role: str, replica: int) -> None:
    """Has this process write its log, and collect spans, as configured."""
    _log(config, role, replica)
    if config.traces:
        tracing.collect(provider(config, role, replica).get_tracer("ringroad", version()))


def provider(config: TelemetryConfig, role: str, replica: int) -> TracerProvider:
    """Sends spans in batches from a thread of its own; what cannot be sent is dropped."""
    who = {
        "service.name": os.environ.get("OTEL_SERVICE_NAME", "ringroad"),
        "service.version": version(),
        "service.instance.id": f"{role}-{replica}",
        "ringroad.role": role,
    }
    share = config.traces_share
    sampler = None if share is None else ParentBased(TraceIdRatioBased(share))
    made = TracerProvider(sampler, Resource.create(who))
    made.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(config.traces_endpoint or None)))
    return made


def _log(config: TelemetryConfig, role: str, replica: int) -> None:
    log = logging.getLogger("ringroad")
    log.setLevel(config.log_level.upper())
    log.propagate = False
    for old in list(log.handlers):
        log.removeHandler(old)
        old.close()
    log.addHandler(_handler(config, role, replica))


def _handler(config: TelemetryConfig, role: str, replica: int) -> logging.Handler:
    handler: logging.Handler = logging.StreamHandler(sys.stderr)
    if config.log_folder is not None:
        config.log_folder.mkdir(parents=True, exist_ok=True)
        handler = WatchedFileHandler(config.log_folder / f"{role}-{replica}.log")
    if config.log == "json":
        names = {"asctime": "time", "levelname": "level", "name": "logger"}
        who = {"role": role, "replica": replica}
        handler.setFormatter(JsonFormatter(_JSON, rename_fields=names, static_fields=who))
    else:
        handler.setFormatter(logging.Formatter(_TEXT))
    return handler
