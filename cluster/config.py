"""A cluster's configuration: each role's own, composed, from one TOML file, read once."""

import tomllib
from ipaddress import ip_address
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from ringroad.actors.drafter.config import DrafterConfig
from ringroad.actors.gateway.config import GatewayConfig
from ringroad.actors.head.config import HeadConfig
from ringroad.actors.ledger.config import LedgerConfig
from ringroad.actors.router.config import RouterConfig
from ringroad.actors.verifier.config import VerifierConfig
from ringroad.cluster.telemetry import TelemetryConfig


class ConfigError(Exception):
    """A configuration file that cannot be used; says where and why."""


class RayConfig(BaseModel):
    """Where the actors run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    # An existing cluster ("auto", "ray://...", "HOST:PORT"); empty starts one on this machine that
    # listens on loopback only and ends with `ringroad down`.
    address: str = ""
    # How often Serve asks each actor for its health, and how long it may take to answer.
    health_check_seconds: float = Field(default=1.0, gt=0)
    health_timeout_seconds: float = Field(default=5.0, gt=0)


class ClusterConfig(BaseModel):
    """Everything `ringroad up` reads. The defaults are the demonstration pair on this machine."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    # What GenerateRequest.model and the OpenAI-style `model` call this pair of models.
    name: str = "qwen2.5-coder"
    # The IP address on which roles listen for each other.
    host: str = "127.0.0.1"
    gateway: GatewayConfig = GatewayConfig()
    router: RouterConfig = RouterConfig()
    drafter: DrafterConfig = DrafterConfig(model="qwen2.5-coder-0.5b", weights="int4")
    verifier: VerifierConfig = VerifierConfig(model="qwen2.5-coder-1.5b")
    head: HeadConfig = HeadConfig()
    ledger: LedgerConfig = LedgerConfig()
    ray: RayConfig = RayConfig()
    telemetry: TelemetryConfig = TelemetryConfig()

    @field_validator("host")
    @classmethod
    def _is_an_address(cls, host: str) -> str:
        return str(ip_address(host))


def load_config(path: Path | None) -> ClusterConfig:
    """The configuration in a file, or the defaults. Raises ConfigError naming every wrong key."""
    if path is None:
        return ClusterConfig()
    try:
        return ClusterConfig.model_validate(tomllib.loads(path.read_text()))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: {error}") from error
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise ConfigError(f"{path}: " + "; ".join(problems)) from error
