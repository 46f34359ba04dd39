"""What every measurement shares: a cluster of its own, facts of the machine, and results on disk."""

import json
import os
import platform
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

from rich.console import Console

from ringroad.cluster import daemon
from ringroad.cluster.config import load_config
from ringroad.cluster.processes import Family

HERE = Path(__file__).parent
RESULTS = HERE / "results"
LOCAL = HERE.parent / "deploy/local.toml"
RINGROAD = Path(sys.executable).with_name("ringroad")
console = Console(stderr=True)

Changes = Mapping[str, Mapping[str, Any]]  # section of a configuration -> key -> value


@contextmanager
def cluster(config: Path) -> Iterator[tuple[str, float]]:
    """A running cluster: its target, and the seconds it took to be ready."""
    began = perf_counter()
    subprocess.run([RINGROAD, "up", "--config", config, "--detach"], check=True, stdout=subprocess.DEVNULL)
    try:
        gateway = load_config(config).gateway
        yield f"{gateway.host}:{gateway.port}", perf_counter() - began
    finally:
        subprocess.run([RINGROAD, "down"], check=True)


@contextmanager
def changed(config: Path, changes: Changes) -> Iterator[Path]:
    """A configuration file like `config` but for some keys. Raises ConfigError where one is unknown."""
    tables = tomllib.loads(config.read_text())
    for section, values in changes.items():
        tables[section] = {**tables.get(section, {}), **values}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cluster.toml"
        path.write_text(_toml(tables))
        load_config(path)
        yield path


def _toml(tables: Mapping[str, Any], name: str = "") -> str:
    """Tables of strings, numbers, flags and lists, which TOML writes as JSON does."""
    lines = [f"[{name}]"] if name else []
    lines += [f"{key} = {json.dumps(value)}" for key, value in tables.items() if not isinstance(value, dict)]
    inner = [
        _toml(value, f"{name}.{key}".lstrip(".")) for key, value in tables.items() if isinstance(value, dict)
    ]
    return "\n".join([*lines, *inner]) + "\n"


def memory() -> dict[str, float]:
    """What this user's cluster holds: proportional set size, which counts shared pages once."""
    held = [process.memory_full_info().pss for process in _family().alive()]
    return {"processes": len(held), "gigabytes": sum(held) / 1e9}


@contextmanager
def paused(settle: float = 2.0) -> Iterator[None]:
    """Stops this user's cluster for a while, to the last process, and lets it go on.

    Ray alone takes a tenth of two cores while idle, which others on the machine would miss. Peers of
    ours that fell silent know each other again after two heartbeats: `settle` seconds.
    """
    stopped = _family().alive()
    for process in stopped:
        process.suspend()
    try:
        yield
    finally:
        for process in stopped:
            process.resume()
        sleep(settle)


def _family() -> Family:
    running = daemon.find()
    assert running is not None
    return Family(running.process)


def processor() -> str:
    """The processor's name, and whether it has the matrix unit that speed here depends on."""
    text = Path("/proc/cpuinfo").read_text()
    name = next(line.split(":")[1].strip() for line in text.splitlines() if line.startswith("model name"))
    return f"{name}, {os.cpu_count()} cores, {'AMX' if 'amx_tile' in text else 'no AMX'}"


def heading() -> dict[str, Any]:
    """Date, machine, load and command: without them a figure means nothing. Call it before measuring."""
    return {
        "date": now(),
        "machine": processor(),
        "load_before": os.getloadavg()[0],
        "command": " ".join(["python", f"bench/{Path(sys.argv[0]).name}", *sys.argv[1:]]),
        "python": platform.python_version(),
        "commit": _commit(),
    }


def now() -> str:
    """The date, to the minute."""
    return datetime.now(UTC).isoformat(timespec="minutes")


def _commit() -> str:
    """Which state of the code is measured; "-dirty" where files differ from it."""
    said = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--exclude=*"], cwd=HERE, capture_output=True, text=True
    )
    return said.stdout.strip() or "unknown"


def write(path: Path, result: Mapping[str, Any]) -> None:
    """Writes a result whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")
