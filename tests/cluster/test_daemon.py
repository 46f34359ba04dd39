"""A cluster as a process: the real command line starts a launcher that only pretends."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from typer.testing import CliRunner, Result

from ringroad.cluster import daemon, processes
from ringroad.cluster.cli import main
from ringroad.cluster.client import AsyncClient, Client
from tests.cluster import fakes

SECONDS = 60.0  # for a process to start and end, on a busy machine
# Python runs a module of this name at its start; ours puts the pretended launcher in the real one's place.
SITE = f"""
import importlib.util, sys
spec = importlib.util.spec_from_file_location("ringroad.cluster.launch", {fakes.__file__!r})
sys.modules[spec.name] = module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
"""


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(SITE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    monkeypatch.setenv("RINGROAD_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("RINGROAD_FAKE", "serve")
    monkeypatch.setattr(processes, "_SETTLE_SECONDS", 0.2)  # the pretended launcher's worker never follows
    yield tmp_path / "state"
    daemon.stop()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    file = tmp_path / "cluster.toml"
    file.write_text(f"[gateway]\nport = {port}\n")
    return file


def ringroad(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def up(config: Path) -> tuple[Result, list[psutil.Process]]:
    """Starts it as a user would, so that its parent is gone, and finds its processes."""
    command = [sys.executable, "-m", "ringroad.cluster.cli", "up", "--detach", "--config", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, done.stderr
    running = daemon.find()
    assert running
    assert done.stdout == f"{running.target}\n"
    return ringroad("status"), [running.process, *running.process.children()]


def gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_up_status_down(config: Path, state: Path) -> None:
    status, family = up(config)
    head, worker = family
    assert status.exit_code == 0
    for shown in (
        ": ready",
        "big with tiny",
        "1 of 32 running, 2 waiting",
        "verifier",
        "1,234",
        "3 MB",
        "ledger: away",
    ):
        assert shown in status.stdout
    assert "ringroad.cluster.cli" in status.stdout
    assert f"{worker.pid}" in status.stdout
    assert os.getsid(head.pid) == head.pid
    with Client(f"127.0.0.1:{config.read_text().split()[-1]}") as client:
        assert client.server_info().version == str(state)  # the fake's working directory
    again = ringroad("up", "--detach", "--config", str(config))
    assert again.exit_code == 1
    assert f"already running: process {head.pid}" in again.stderr
    assert ringroad("down").exit_code == 0
    assert all(map(gone, family))
    assert not (state / "cluster.json").exists()
    assert ringroad("status").exit_code == 3
    assert (ringroad("down").stderr, ringroad("down").exit_code) == ("nothing was running\n", 0)


def test_a_cluster_deaf_to_sigterm_is_killed_with_its_workers(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RINGROAD_FAKE", "stubborn")
    monkeypatch.setattr(daemon, "_PATIENCE_SECONDS", 0.2)
    _, family = up(config)
    assert len(family) == 2
    assert ringroad("down").exit_code == 0
    assert all(map(gone, family))


def test_a_cluster_that_dies_shows_the_end_of_its_log(
    config: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RINGROAD_FAKE", "fail")
    result = ringroad("up", "--detach", "--config", str(config))
    assert (result.exit_code, result.stdout) == (1, "")
    lines = [line for line in result.stderr.splitlines() if "of the failure" in line]
    assert lines[-1] == "line 99 of the failure"
    assert 10 < len(lines) < 30
    assert "line 0 of the failure" in (state / "ringroad.log").read_text()
    assert ringroad("status").exit_code == 3


def test_ctrl_c_while_it_starts_leaves_nothing(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RINGROAD_FAKE", "not ready")
    begun: list[daemon.Running] = []

    async def ready(client: AsyncClient) -> bool:
        if running := daemon.find():
            begun.append(running)
            signal.raise_signal(signal.SIGINT)
        return False

    monkeypatch.setattr(AsyncClient, "ready", ready)
    assert ringroad("up", "--detach", "--config", str(config)).exit_code == 130
    assert gone(begun[0].process)
    assert daemon.find() is None


def test_what_already_serves_at_the_address_is_not_taken_for_the_cluster(config: Path, state: Path) -> None:
    with fakes.FakeGateway(port=int(config.read_text().split()[-1])) as gateway:
        result = ringroad("up", "--detach", "--config", str(config))
    assert (result.exit_code, result.stderr) == (
        1,
        f"ringroad: somebody already serves at {gateway.target}\n",
    )
    assert not state.exists()


def test_in_the_foreground_it_is_found_and_ended_too(config: Path, state: Path) -> None:
    command = [sys.executable, "-m", "ringroad.cluster.cli", "up", "--config", str(config)]
    with (
        subprocess.Popen(command) as process,
        Client(f"127.0.0.1:{config.read_text().split()[-1]}") as client,
    ):
        while not client.ready():
            assert process.poll() is None
        assert client.server_info().version == str(state)
        assert ringroad("status").exit_code == 0
        assert os.getsid(process.pid) == os.getsid(0)
        assert ringroad("down").exit_code == 0  # and this test, of the same session, lives on
        assert process.wait(SECONDS) == 0
    assert not (state / "cluster.json").exists()
