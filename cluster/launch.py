"""The composition root: from a configuration to a running cluster, and back to nothing."""

import os
import secrets
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Ray reads these when it is imported. Without the first it replaces a loopback address by the
# machine's own; the second keeps strangers out (to join a Ray without tokens, set it to "disabled");
# without the third it calls home; without the fourth it runs the models at low priority.
os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
os.environ.setdefault("RAY_AUTH_MODE", "token")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_worker_niceness", "0")
# Serve looks at everything ten times a second and counts as often, which idly takes a tenth of two cores.
os.environ.setdefault("RAY_SERVE_CONTROL_LOOP_INTERVAL_S", "0.3")
os.environ.setdefault("RAY_SERVE_METRICS_EXPORT_INTERVAL_MS", "10000")

import ray
from ray import serve

from ringroad.actors.errors import Unavailable
from ringroad.cluster.config import ClusterConfig, load_config
from ringroad.cluster.deployments import GATEWAYS, applications, places
from ringroad.cluster.embedded import with_ledger
from ringroad.cluster.heads import with_head
from ringroad.cluster.node import one_node
from ringroad.cluster.roles import check_models

OBJECT_STORE_BYTES = 100 * 1024 * 1024  # nothing large goes through Ray's object store here


def run(config_path: Path | None) -> None:
    """Starts the cluster, serves until SIGTERM or SIGINT, and leaves nothing behind.

    Raises ConfigError, ModelNotCached or HeadError before anything is started.
    """
    config = load_config(config_path)
    check_models(config)
    config = with_head(config)
    with with_ledger(config) as config, connected(config):
        # Only now: ray.init puts in a SIGTERM handler of its own.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _leave)
        try:
            deploy(config)
            try:
                threading.Event().wait()
            finally:
                serve.delete(GATEWAYS)  # running streams end first, while all that they need is there
        finally:
            serve.shutdown()  # type: ignore[no-untyped-call]


def _leave(number: int, frame: object) -> None:
    """Unwinds the main thread, once: a second signal must not interrupt the cleaning up."""
    for again in (signal.SIGTERM, signal.SIGINT):
        signal.signal(again, signal.SIG_IGN)
    raise SystemExit(0)


def deploy(config: ClusterConfig) -> None:
    """Deploys the roles to the Ray cluster in reach, and returns when all of them are healthy.

    Raises Unavailable when one cannot be started.
    """
    serve.start(http_options={"location": "NoServer"})
    try:
        serve.run_many([serve.RunTarget(app, name, None) for name, app in applications(config).items()])
    except RuntimeError as error:  # Serve's word for a role whose constructor keeps failing
        raise Unavailable(str(error)) from error


@contextmanager
def connected(config: ClusterConfig) -> Iterator[None]:
    """Joins the configured Ray cluster, or starts one on loopback and ends it afterwards."""
    if config.ray.address:
        ray.init(address=config.ray.address, namespace="ringroad")
        try:
            yield
        finally:
            ray.shutdown()
        return
    with tempfile.TemporaryDirectory(prefix="ringroad-") as folder:
        token = Path(folder, "token")
        token.touch(mode=0o600)
        token.write_text(secrets.token_hex(32))
        # A token of this cluster's own; Ray would write one into the user's home.
        os.environ["RAY_AUTH_TOKEN_PATH"] = str(token)
        with one_node(
            Path(folder),
            namespace="ringroad",
            # Roles that share cores still need a place each.
            num_cpus=max(os.cpu_count() or 1, places(config)),
            include_dashboard=False,
            object_store_memory=OBJECT_STORE_BYTES,
            _node_ip_address=config.host,
        ):
            yield
