"""The cluster that is hurt: how it is started, which processes it has, and what they hold."""

import io
import os
import re
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console

from ringroad.cluster import daemon
from ringroad.cluster.client import CallFailed, Client
from ringroad.cluster.config import ClusterConfig, load_config
from ringroad.cluster.processes import Family

CONFIG = Path(__file__).with_name("cluster.toml")
LEDGER = "ledger"
START_SECONDS = 180.0
_REPLICA = re.compile(r"ray::ServeReplica:[^:]+:(\w+)")


@dataclass
class Cluster:
    """A running cluster."""

    targets: list[str]
    family: Family
    full: Counter[str]  # how many processes of each role there should be

    def processes(self, role: str) -> list[psutil.Process]:
        """Of a deployment, or the ledger's server."""
        return [process for process in self.family.alive() if role_of(process) == role]

    def counts(self) -> Counter[str]:
        """How many processes each role has."""
        return Counter(role for process in self.family.alive() if (role := role_of(process)))

    def holdings(self) -> dict[int, dict[str, Any]]:
        """What each process holds, by its number."""
        held: dict[int, dict[str, Any]] = {}
        for process in self.family.alive():
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                held[process.pid] = {
                    "name": role_of(process) or _title(process),
                    "descriptors": process.num_fds(),
                    "sockets": len(process.net_connections("all")),
                    "megabytes": round(process.memory_full_info().uss / 1e6, 1),
                }
        return held

    def load(self) -> dict[str, int]:
        """What runs, waits and is cached for sessions, over all gateways and roles; raises CallFailed."""
        total: Counter[str] = Counter()
        for target in self.targets:
            with Client(target) as client:
                load, info = client.load(), client.server_info()
            total.update(running=load.running, waiting=load.waiting)
            total.update(sessions=sum(role.sessions for role in info.roles))
            total.update(cached_tokens=sum(role.cached_tokens for role in info.roles))
        return dict(total)

    def whole(self) -> bool:
        """Whether all processes are there, and every gateway knows those that compute."""
        if self.counts() != self.full:
            return False
        for target in self.targets:
            try:
                with Client(target) as client:
                    roles = Counter(role.name for role in client.server_info().roles if role.ready)
            except CallFailed:
                return False
            if roles != {name: self.full[name] for name in ("drafter", "verifier")}:
                return False
        return True


def role_of(process: psutil.Process) -> str:
    """The role of a process, "ledger", or ""."""
    with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
        if found := _REPLICA.search(" ".join(process.cmdline())):
            return found[1]
        if process.name().startswith("valkey"):
            return LEDGER
    return ""


@contextmanager
def started(folder: Path) -> Iterator[Cluster]:
    """The cluster of cluster.toml, with its state in `folder`, once it is whole; leaves nothing behind."""
    config = folder / "cluster.toml"
    config.write_text(CONFIG.read_text().replace("port = 0", f"port = {_free_ports()}"))
    settings = load_config(config)
    targets = [f"127.0.0.1:{port}" for port in settings.gateway.ports]
    before = os.environ.get("RINGROAD_STATE")
    os.environ["RINGROAD_STATE"] = str(folder / "state")
    process = daemon.start(config, targets[0], Console(file=io.StringIO()))
    family = Family(psutil.Process(process.pid))
    try:
        cluster = Cluster(targets, family, _full(settings))
        _await(cluster.whole)
        yield cluster
    finally:
        everyone = family.alive()
        for each in everyone:
            with suppress(psutil.NoSuchProcess):
                each.send_signal(signal.SIGCONT)
        daemon.stop()
        process.wait()
        os.environ.pop("RINGROAD_STATE")
        if before is not None:
            os.environ["RINGROAD_STATE"] = before
    assert not [p for p in everyone if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    assert process.returncode == 0


def _free_ports() -> int:
    """A port that nobody has, nor the one behind it."""
    while True:
        with socket.socket() as one, socket.socket() as other, suppress(OSError, OverflowError):
            one.bind(("127.0.0.1", 0))
            port: int = one.getsockname()[1]
            other.bind(("127.0.0.1", port + 1))
            return port


def _full(config: ClusterConfig) -> Counter[str]:
    roles = ("router", "gateway", "drafter", "verifier")
    full = Counter({role: getattr(getattr(config, role), "replicas", 1) for role in roles})
    full.update([LEDGER, "directory"])
    return full


def _await(there: Callable[[], bool]) -> None:
    end = time.monotonic() + START_SECONDS
    while not there():
        if time.monotonic() > end:
            raise TimeoutError("the cluster did not become whole")
        time.sleep(0.5)


def _title(process: psutil.Process) -> str:
    words = [Path(each).name if each.startswith("/") else each for each in process.cmdline()]
    return re.sub(r"=/\S*", "", " ".join(words))[:60]  # without the places of this machine
