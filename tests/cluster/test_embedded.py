"""The cluster's own ledger server: started again with its file when it dies, and gone with the cluster."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import redis

from ringroad.actors.ledger.config import LedgerConfig
from ringroad.cluster.config import ClusterConfig
from ringroad.cluster.embedded import embedded_ledger, with_ledger

SECONDS = 60.0


@pytest.fixture
def short() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="ringroad-") as folder:
        yield Path(folder)


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def answers(client: "redis.Redis") -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False


def servers(parent: psutil.Process) -> list[psutil.Process]:
    return [child for child in parent.children() if "valkey" in child.name()]


def test_it_keeps_what_it_acknowledged_whoever_dies(short: Path, tmp_path: Path) -> None:
    me = psutil.Process()
    for life in range(2):
        with embedded_ledger(tmp_path / "ledger", short / "s", 64) as url:
            assert url == f"unix://{short / 's'}"
            with redis.Redis.from_url(url, retry=None) as client:
                for death in range(2):
                    until(lambda: answers(client))
                    assert client.dbsize() == 2 * life + death
                    client.set(f"{life} {death}", "kept")
                    [server] = servers(me)
                    assert client.config_get("maxmemory") == {"maxmemory": str(64 * 1024 * 1024)}
                    if death == 0:
                        server.kill()
                        server.wait()
        assert servers(me) == []
    assert (tmp_path / "ledger").stat().st_mode & 0o077 == 0


def test_nobody_else_may_ask_it(short: Path, tmp_path: Path) -> None:
    with embedded_ledger(tmp_path, short / "s", 64) as url, redis.Redis.from_url(url) as client:
        until(lambda: answers(client))
        assert (short / "s").stat().st_mode & 0o077 == 0
        [server] = servers(psutil.Process())
        listening = [c for c in server.net_connections("inet") if c.status == psutil.CONN_LISTEN]
        assert listening == []


LAUNCHER = """
import sys, time
from pathlib import Path
from ringroad.cluster.embedded import embedded_ledger
with embedded_ledger(Path(sys.argv[1]), Path(sys.argv[2]), 64):
    time.sleep(1000)
"""


def test_it_ends_with_a_launcher_that_is_killed(short: Path, tmp_path: Path) -> None:
    launcher = subprocess.Popen([sys.executable, "-c", LAUNCHER, str(tmp_path), str(short / "s")])
    try:
        parent = psutil.Process(launcher.pid)
        with redis.Redis(unix_socket_path=str(short / "s"), retry=None) as client:
            until(lambda: answers(client))
        [server] = servers(parent)
    finally:
        launcher.kill()
        launcher.wait()
    until(lambda: not server.is_running() or server.status() == psutil.STATUS_ZOMBIE)


def test_a_stopped_one_is_ended(short: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ringroad.cluster.embedded._END_SECONDS", 0.2)
    with embedded_ledger(tmp_path, short / "s", 64) as url, redis.Redis.from_url(url) as client:
        until(lambda: answers(client))
        [server] = servers(psutil.Process())
        os.kill(server.pid, signal.SIGSTOP)
    assert servers(psutil.Process()) == []


def test_a_file_that_cannot_be_read_is_told(
    short: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with embedded_ledger(tmp_path, short / "s", 64) as url, redis.Redis.from_url(url) as client:
        until(lambda: answers(client))
        client.set("a", "b")
    for file in (tmp_path / "appendonlydir").glob("*.incr.aof"):
        file.write_bytes(b"*1\r\nnonsense" * 100)
    with embedded_ledger(tmp_path, short / "s", 64):
        until(lambda: "Bad file format" in caplog.text)
    assert servers(psutil.Process()) == []


def test_only_who_names_none_gets_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RINGROAD_STATE", str(tmp_path / "state"))
    for url in ("none", "redis://h"):
        config = ClusterConfig(ledger=LedgerConfig(url=url))
        with with_ledger(config) as same:
            assert same == config
            assert servers(psutil.Process()) == []
    with with_ledger(ClusterConfig()) as config, redis.Redis.from_url(config.ledger.url) as client:
        until(lambda: answers(client))
        assert (tmp_path / "state" / "ledger" / "appendonlydir").exists()
