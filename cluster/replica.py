"""What every process that Serve starts does first, and who it is there."""

from ray import serve

from ringroad.cluster import telemetry
from ringroad.cluster.config import ClusterConfig
from ringroad.cluster.loopback import bind_serve_to_loopback


def prepare(config: ClusterConfig) -> None:
    """Called in a deployment's constructor: keeps it off the network where it should be, begins its log."""
    bind_serve_to_loopback(config.host)
    telemetry.begin(config.telemetry, serve.get_replica_context().deployment, own_number())


def own_number() -> int:
    """Which of its deployment's replicas this is, from 0 on: one that is started again has its number."""
    return int(serve.get_replica_context().rank.rank)
