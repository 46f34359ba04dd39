"""What an operator may set of a gateway, and what it serves."""

from collections.abc import Mapping
from ipaddress import ip_address
from typing import NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from ringroad.actors.gateway.certificates import File, TlsConfig
from ringroad.actors.gateway.limits import Limits
from ringroad.actors.messages import Mode


class GatewayConfig(BaseModel):
    """Frozen; an unknown key raises."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    port: int = Field(default=50051, ge=0, le=65535)  # 0: any free one
    http_port: int | None = Field(default=None, ge=0, le=65535)  # for OpenAI's clients; none where not given
    admin_port: int | None = Field(default=None, ge=0, le=65535)  # HTTP for operators; none where not given
    replicas: PositiveInt = 1  # on one machine each takes a port, from `port` on, and so with other ports
    admin_host: str = "127.0.0.1"
    tls: TlsConfig | None = None  # of every port; None: none
    keys_file: File | None = None  # who may ask for what, as `keys.py` says; None: everybody for everything
    serve_smg: bool = True  # on the gRPC port also the engine protocol, for routers that drive engines
    serve_kserve: bool = True  # and Open Inference v2, for clients of Triton and KServe
    default_mode: Mode = Mode.SPECULATIVE
    default_max_tokens: PositiveInt = 512
    max_sessions: PositiveInt = 32  # generated at once
    spare_sessions: NonNegativeInt = 4  # more, for tenants that hold less than their share of these
    max_waiting: NonNegativeInt = 64  # in line for a place
    max_message_bytes: PositiveInt = 4 * 1024 * 1024  # of one request, or one answer
    limits: Limits = Limits()  # of each connection
    max_streams: PositiveInt = 512  # that are read at once
    max_kept: NonNegativeInt = 128  # resumable requests that have ended, kept to be read again
    grace_seconds: PositiveFloat = 20.0  # that running requests get when the gateway stops
    settle_seconds: PositiveFloat = 1.0  # for the router's last word on a cancelled session
    router_seconds: PositiveFloat = 15.0  # that a session waits for a router when its own was lost
    resume_seconds: PositiveFloat = 30.0  # that a resumable request goes on, or is kept, with nobody reading
    retry_seconds: PositiveFloat = 1.0  # between tries to reach the router, and what clients are told

    def of_replica(self, number: int) -> Self:
        """What the replica of this number, from 0 on, is to know: its own ports."""
        ports = {"port": self.port, "http_port": self.http_port, "admin_port": self.admin_port}
        return self.model_copy(update={name: port + number for name, port in ports.items() if port})

    @property
    def ports(self) -> range:
        """Those that the replicas take."""
        return range(self.port, self.port + self.replicas) if self.port else range(1)

    @model_validator(mode="after")
    def _guards_the_admin_port(self) -> Self:
        asked = self.keys_file is not None or (self.tls is not None and self.tls.client_ca is not None)
        if self.admin_port is not None and not asked and not ip_address(self.admin_host).is_loopback:
            raise ValueError("admin_host: beyond this machine it needs a keys_file or a tls.client_ca")
        return self

    @model_validator(mode="after")
    def _has_ports(self) -> Self:
        if self.ports.stop > 65536:
            raise ValueError("replicas: there are not so many ports from `port` on")
        return self


class Pair(BaseModel):
    """A large and a small model served together under one name; `small` is empty where there is none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    large: str
    small: str = ""
    context_length: PositiveInt  # tokens of a prompt and its answer together
    vocabulary: PositiveInt  # ids both models know

    @property
    def modes(self) -> tuple[Mode, ...]:
        """The modes these models allow. Drafts can be made without a small model."""
        return tuple(Mode) if self.small else (Mode.LARGE, Mode.SPECULATIVE)


class Policies(NamedTuple):
    """The token routers of `router/policies.py` that are offered here."""

    default: str  # of requests that name none; one of `thresholds`
    thresholds: Mapping[str, float]  # by name: of requests that ask for none
