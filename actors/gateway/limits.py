"""How much one connection may take, whoever is behind it."""

from pydantic import BaseModel, ConfigDict, PositiveFloat, PositiveInt


class Limits(BaseModel):
    """Frozen; an unknown key raises."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    streams_per_connection: PositiveInt = 1024  # of gRPC; what is beyond waits at the client, untold why
    connections: PositiveInt = 1024  # of HTTP, at each port
    header_bytes: PositiveInt = 8192  # of a request's headers, or a call's metadata, all together
    header_seconds: PositiveFloat = 10.0  # for a handshake, and for all headers of a request
    body_seconds: PositiveFloat = 30.0  # for the body of an HTTP request
    idle_seconds: PositiveFloat = 300.0  # without a request, then the connection is closed
    connection_seconds: PositiveFloat = 3600.0  # then a gRPC client is told to connect anew
    connection_grace_seconds: PositiveFloat = 600.0  # that its running calls get for that
    ping_seconds: PositiveFloat = 0.5  # clients may ping as often; ours do each second


def grpc_options(limits: Limits, most_bytes: int) -> list[tuple[str, int]]:
    """Of a server."""
    return [
        ("grpc.max_receive_message_length", most_bytes),
        ("grpc.max_send_message_length", most_bytes),
        ("grpc.so_reuseport", 0),  # a taken port is an error, not a share of its connections
        # A client that vanished without a word is noticed, and what it held freed, in 20 seconds.
        ("grpc.keepalive_time_ms", 10_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.http2.ping_timeout_ms", 10_000),  # a minute by default, whatever the line above says
        ("grpc.http2.min_ping_interval_without_data_ms", _ms(limits.ping_seconds)),
        ("grpc.max_concurrent_streams", limits.streams_per_connection),
        # Between the two gRPC would refuse by chance.
        ("grpc.max_metadata_size", limits.header_bytes),
        ("grpc.absolute_max_metadata_size", limits.header_bytes),
        ("grpc.server_handshake_timeout_ms", _ms(limits.header_seconds)),
        ("grpc.max_connection_idle_ms", _ms(limits.idle_seconds)),
        ("grpc.max_connection_age_ms", _ms(limits.connection_seconds)),
        ("grpc.max_connection_age_grace_ms", _ms(limits.connection_grace_seconds)),
    ]


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))
