"""The record of a running cluster: believed only while that very process runs."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from typer.testing import CliRunner, Result

from ringroad.actors.gateway.config import GatewayConfig
from ringroad.cluster import daemon
from ringroad.cluster.cli import main
from tests.cluster.fakes import NOBODY, FakeGateway


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RINGROAD_STATE", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.mark.parametrize(
    ("settings", "where"),
    [
        ({}, ""),
        ({"http_port": 0}, ""),
        ({"http_port": 8080}, "http://127.0.0.1:8080/v1"),
        ({"http_port": 8080, "host": "::"}, "http://[::1]:8080/v1"),
    ],
)
def test_openais_api_is_found_where_clients_reach_it(settings: dict[str, Any], where: str) -> None:
    assert daemon.http_of(GatewayConfig(**settings)) == where


def test_up_tells_where_openais_api_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "cluster.toml"
    config.write_text("[gateway]\nhttp_port = 8080\n")
    monkeypatch.setattr(daemon, "start", lambda *_: None)
    done = CliRunner().invoke(main, ["up", "--detach", "--config", str(config)])
    assert done.stdout == "127.0.0.1:50051\n"
    assert done.stderr == "OpenAI's API: http://127.0.0.1:8080/v1\n"


@pytest.fixture
def bystander() -> Iterator[psutil.Process]:
    with subprocess.Popen(["sleep", "600"]) as process:
        yield psutil.Process(process.pid)
        process.kill()


def ringroad(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def record(state: Path, pid: int, started: float, target: str = NOBODY) -> Path:
    state.mkdir(exist_ok=True)
    file = state / "cluster.json"
    file.write_text(json.dumps({"pid": pid, "started": started, "target": target}))
    return file


def test_down_spares_a_process_that_got_the_number_later(state: Path) -> None:
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as foreign:
        file = record(state, foreign.pid, psutil.Process(foreign.pid).create_time() - 60)
        assert ringroad("status").exit_code == 3
        assert ringroad("down").stderr == "nothing was running\n"
        assert foreign.poll() is None
        assert not file.exists()
        foreign.kill()


def test_a_record_of_a_process_that_is_gone_is_stale(state: Path) -> None:
    with subprocess.Popen(["true"]) as dead:
        started = psutil.Process(dead.pid).create_time()
        dead.wait()
    file = record(state, dead.pid, started)
    assert ringroad("status").exit_code == 3
    assert ringroad("down").exit_code == 0
    assert not file.exists()


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"pid": "x"}', '{"pid": 1, "started": null}'])
def test_a_damaged_record_is_none(state: Path, text: str) -> None:
    record(state, 1, 0).write_text(text)
    assert daemon.find() is None


def test_running_without_an_answer_is_1(state: Path, bystander: psutil.Process) -> None:
    record(state, bystander.pid, bystander.create_time())
    result = ringroad("status")
    assert result.exit_code == 1
    assert "not ready" in result.stdout
    assert str(bystander.pid) in result.stdout


def test_running_but_not_ready_is_1(state: Path, bystander: psutil.Process) -> None:
    with FakeGateway(serving=False) as gateway:
        record(state, bystander.pid, bystander.create_time(), gateway.target)
        result = ringroad("status")
    assert result.exit_code == 1
    assert "verifier" in result.stdout


def test_a_zombie_does_not_run(state: Path) -> None:
    with subprocess.Popen(["true"]) as dead:
        process = psutil.Process(dead.pid)
        os.waitid(os.P_PID, dead.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and stays a zombie
        record(state, dead.pid, process.create_time())
        assert daemon.find() is None


def test_only_its_own_record_is_forgotten(state: Path, bystander: psutil.Process) -> None:
    with daemon.recorded("here:1"):
        found = daemon.find()
        assert found
        assert (found.process.pid, found.target) == (os.getpid(), "here:1")
        with pytest.raises(daemon.AlreadyRunning), daemon.recorded("here:2"):
            pass
        file = record(state, bystander.pid, bystander.create_time())
    assert file.exists()
    file.unlink()
    with daemon.recorded("here:1"):
        pass
    assert list(state.iterdir()) == []


def test_where_state_lies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("RINGROAD_STATE", "~/own")
    assert daemon.state_folder() == tmp_path / "own"
    monkeypatch.delenv("RINGROAD_STATE")
    assert daemon.state_folder() == tmp_path / "xdg" / "ringroad"
    monkeypatch.delenv("XDG_STATE_HOME")
    assert daemon.state_folder() == tmp_path / ".local" / "state" / "ringroad"
    assert daemon.find() is None
    assert list(tmp_path.iterdir()) == []  # asking makes nothing


@pytest.mark.parametrize(
    ("host", "target"),
    [
        ("127.0.0.1", "127.0.0.1:5"),
        ("0.0.0.0", "127.0.0.1:5"),
        ("::", "[::1]:5"),
        ("::1", "[::1]:5"),
        ("a.b", "a.b:5"),
    ],
)
def test_where_clients_of_this_machine_go(host: str, target: str) -> None:
    assert daemon.target_of(host, 5) == target
