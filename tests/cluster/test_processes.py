"""Who ends with a process, and who must not."""

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from ringroad.cluster import processes
from ringroad.cluster.processes import Family

SECONDS = 20.0


@pytest.fixture(autouse=True)
def no_settling(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_SETTLE_SECONDS", 0.2)


@contextmanager
def shell(script: str, *arguments: str, **options: Any) -> Iterator["subprocess.Popen[str]"]:
    command = ["sh", "-c", script, "sh", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **options) as process:
        try:
            yield process
        finally:
            process.kill()


def said(process: "subprocess.Popen[str]") -> str:
    assert process.stdout
    return process.stdout.readline().strip()


def gone(pids: Sequence[int]) -> bool:
    alive = [pid for pid in pids if psutil.pid_exists(pid)]
    return all(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE for pid in alive)


def test_only_the_head_is_asked_to_end(tmp_path: Path) -> None:
    worker = """(trap 'echo > "$1"; exit' TERM; echo up; while :; do sleep 0.05; done)"""
    head = """trap 'kill -9 $w; exit 0' TERM; """ + worker + " & w=$!; wait"
    with shell(head, str(tmp_path / "asked")) as process:
        assert said(process) == "up"
        family = Family(psutil.Process(process.pid))
        family.end(SECONDS)
        assert process.wait() == 0
    assert not family.alive()
    assert not (tmp_path / "asked").exists()


def test_a_deaf_family_is_killed() -> None:
    with shell(
        "trap '' TERM; sleep 600 & echo $!; while :; do wait; done", start_new_session=True
    ) as process:
        worker = int(said(process))
        Family(psutil.Process(process.pid)).end(0.2)
        assert gone([process.pid, worker])
        assert process.wait() == -9


def test_an_orphan_of_the_heads_session_ends_with_it() -> None:
    script = "(sleep 600 & echo $!); echo left; sleep 600 & wait"
    with shell(script, start_new_session=True) as process:
        orphan = int(said(process))
        assert said(process) == "left"
        head = psutil.Process(process.pid)
        assert orphan not in [child.pid for child in head.children(recursive=True)]
        Family(head).end(SECONDS)
        assert gone([process.pid, orphan])


def test_a_head_that_leads_no_session_leaves_its_own_alone() -> None:
    with shell("echo up; exec sleep 600") as sibling, shell("sleep 600 & echo $!; wait") as process:
        assert said(sibling) == "up"
        worker = int(said(process))
        Family(psutil.Process(process.pid)).end(SECONDS)
        assert gone([process.pid, worker])
        assert sibling.poll() is None


def test_a_family_already_gone_ends_at_once() -> None:
    with shell("exec sleep 600") as process:
        family = Family(psutil.Process(process.pid))
        process.kill()
        process.wait()
        family.end(SECONDS)
    assert family.alive() == []


def test_what_cannot_be_ended_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_KILL_SECONDS", 0.2)
    with shell("exec sleep 600") as process, monkeypatch.context() as deaf:
        deaf.setattr(psutil.Process, "terminate", lambda self: None)
        deaf.setattr(psutil.Process, "kill", lambda self: None)
        with pytest.raises(processes.StillAlive, match=str(process.pid)):
            Family(psutil.Process(process.pid)).end(0.1)
