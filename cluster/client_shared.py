"""What both clients know of gateways: how to connect to them, and in which order to ask them."""

from collections.abc import Iterator, Sequence
from itertools import cycle
from typing import TypeVar

import grpc
from grpc_health.v1 import health_pb2

from ringroad.cluster.reading import Patience

G = TypeVar("G")

PATIENCE = Patience()
UNARY_SECONDS = 10.0
ABORT_SECONDS = 2.0
CHANNEL = [
    # gRPC's own doubling to two minutes would sleep through a gateway's start or return.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.min_reconnect_backoff_ms", 2000),  # what a connection may take: a stopped gateway never answers
    # A gateway that is stopped or cut off keeps its connections: pings tell, while somebody reads.
    ("grpc.keepalive_time_ms", 1000),
    ("grpc.keepalive_timeout_ms", 2000),
    ("grpc.http2.ping_timeout_ms", 2000),  # a minute by default, whatever the line above says
    ("grpc.http2.max_pings_without_data", 0),
]
NOBODY = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)  # another gateway may answer
HEALTH = health_pb2.HealthCheckRequest(service="ringroad.v1.InferenceService")


def listed(targets: str | Sequence[str]) -> list[str]:
    """The targets one by one. Raises ValueError where there is none."""
    names = targets.split(",") if isinstance(targets, str) else targets
    if not (listed := [name.strip() for name in names if name.strip()]):
        raise ValueError("no target")
    return listed


def from_next(gateways: Sequence[G], serial: Iterator[int]) -> Iterator[G]:
    """All of them in turn, for ever; each request begins at another one."""
    first = next(serial) % len(gateways)
    return cycle([*gateways[first:], *gateways[:first]])


def serving(answer: health_pb2.HealthCheckResponse) -> bool:
    """Whether a gateway says that it can serve requests."""
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)
