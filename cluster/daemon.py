"""This user's cluster as a process: at most one, known by a record in the state folder.

The record holds the process's start time beside its number, so that a process which got the number
later is never taken for the cluster.
"""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from rich.console import Console

from ringroad.actors.gateway.config import GatewayConfig
from ringroad.cluster.client import AsyncClient
from ringroad.cluster.config import ConfigError
from ringroad.cluster.processes import Family

_SAME_START_SECONDS = 1.0  # psutil reckons from the boot time, which the kernel rounds
_POLL_SECONDS = 0.2
_PATIENCE_SECONDS = 60.0  # more than running requests get
_TAIL_LINES = 20


class AlreadyRunning(Exception):
    """A cluster of this user runs, or somebody else serves at its address."""


class StartFailed(Exception):
    """The cluster's process ended before it served; the message is the end of its log."""


@dataclass(frozen=True)
class Running:
    """A cluster's process and where its gateways listen, with commas between."""

    process: psutil.Process
    target: str


def state_folder() -> Path:
    """$RINGROAD_STATE, else $XDG_STATE_HOME/ringroad, else ~/.local/state/ringroad; may not exist yet."""
    if own := os.environ.get("RINGROAD_STATE"):
        folder = Path(own).expanduser()
    elif xdg := os.environ.get("XDG_STATE_HOME"):
        folder = Path(xdg).expanduser() / "ringroad"
    else:
        folder = Path.home() / ".local" / "state" / "ringroad"
    return folder.absolute()


def log_file() -> Path:
    """What a detached cluster wrote since it was started."""
    return state_folder() / "ringroad.log"


def target_of(host: str, port: int) -> str:
    """Where clients on this machine reach a gateway bound to `host`."""
    reached = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"[{reached}]:{port}" if ":" in reached else f"{reached}:{port}"


def targets_of(gateway: GatewayConfig) -> str:
    """Where clients on this machine reach all its gateways, with commas between. Raises ConfigError."""
    if not gateway.port:
        raise ConfigError("gateway.port: 0 leaves nobody a way to know where the gateway is")
    return ",".join(target_of(gateway.host, port) for port in gateway.ports)


def http_of(gateway: GatewayConfig) -> str:
    """Where OpenAI's clients on this machine reach it; empty where they cannot, or only the system knows."""
    if not gateway.http_port:
        return ""
    scheme = "http" if gateway.tls is None else "https"
    return f"{scheme}://{target_of(gateway.host, gateway.http_port)}/v1"


def find() -> Running | None:
    """The running cluster, if there is one."""
    try:
        record = json.loads(_record_file().read_text())
        process = psutil.Process(record["pid"])
        same = abs(process.create_time() - record["started"]) < _SAME_START_SECONDS
        alive = process.status() != psutil.STATUS_ZOMBIE
        return Running(process, record["target"]) if same and alive else None
    except (FileNotFoundError, psutil.NoSuchProcess):
        return None
    except (ValueError, KeyError, TypeError):  # no record of ours, or half of one
        return None


@contextmanager
def recorded(target: str) -> Iterator[None]:
    """This process is the cluster meanwhile. Raises AlreadyRunning."""
    _refuse_a_second()
    file, me = _record_file(), psutil.Process()
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = file.with_suffix(f".{me.pid}")
    draft.write_text(json.dumps({"pid": me.pid, "started": me.create_time(), "target": target}))
    draft.replace(file)
    try:
        yield
    finally:
        _forget(me)


def start(config: Path | None, target: str, console: Console) -> subprocess.Popen[bytes]:
    """Starts a cluster of its own session and returns when it serves at `target`.

    Interrupted or failed, it leaves nothing behind. Not for coroutines. Raises AlreadyRunning,
    StartFailed.
    """
    _refuse_a_second()
    return asyncio.run(_start(config, target, console))


def stop() -> bool:
    """Ends the cluster and all its processes; False when none was running. Raises StillAlive."""
    running = find()
    if running:
        Family(running.process).end(_PATIENCE_SECONDS)
    if not find():
        _record_file().unlink(missing_ok=True)
    return running is not None


async def _start(config: Path | None, target: str, console: Console) -> subprocess.Popen[bytes]:
    async with AsyncClient(target) as client:
        if await client.ready():
            raise AlreadyRunning(f"somebody already serves at {target}")
        process = _spawn(config)
        family = Family(psutil.Process(process.pid))
        try:
            await _until_ready(process, client, console)
        except BaseException:
            family.end(_PATIENCE_SECONDS)
            process.wait()
            raise
    return process


def _spawn(config: Path | None) -> subprocess.Popen[bytes]:
    arguments = ["--config", str(config.absolute())] if config else []
    folder = state_folder()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with log_file().open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "ringroad.cluster.cli", "up", *arguments],
            # Ray puts this folder on every worker's sys.path: in a checkout our own folders would
            # hide installed packages of the same names.
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


async def _until_ready(process: subprocess.Popen[bytes], client: AsyncClient, console: Console) -> None:
    began = time.monotonic()
    with console.status("starting the cluster") as line:
        while not await client.ready():
            if process.poll() is not None:
                raise StartFailed("\n".join(_tail(log_file())))
            line.update(f"starting the cluster, {time.monotonic() - began:.0f} s; log: {log_file()}")
            await asyncio.sleep(_POLL_SECONDS)


def _refuse_a_second() -> None:
    if running := find():
        raise AlreadyRunning(f"already running: process {running.process.pid} at {running.target}")


def _forget(process: psutil.Process) -> None:
    running = find()
    if running and running.process == process:
        _record_file().unlink(missing_ok=True)


def _record_file() -> Path:
    return state_folder() / "cluster.json"


def _tail(log: Path) -> list[str]:
    return log.read_text(errors="replace").splitlines()[-_TAIL_LINES:]
