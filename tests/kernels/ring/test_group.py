"""A ring of processes over gloo on loopback: the bits and bytes of threads; losing a rank ends it in time."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import torch

from tests.kernels.ring.cases import WAYS, ran
from tests.kernels.ring.rank import TIMEOUT, case

ROOT = Path(__file__).parents[3]


@contextmanager
def ring(job: str, ranks: int, folder: Path) -> Iterator[list[subprocess.Popen[str]]]:
    """A process for each rank; none is left behind."""
    command = [sys.executable, "-m", "tests.kernels.ring.rank", job]
    env = {**os.environ, "GLOO_SOCKET_IFNAME": "lo"}
    ways = [[*command, str(rank), str(ranks), str(folder)] for rank in range(ranks)]
    processes = [subprocess.Popen(way, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True) for way in ways]
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def said(process: subprocess.Popen[str]) -> dict[str, float]:
    assert process.stdout is not None
    answer: dict[str, float] = json.loads(process.stdout.readline())
    return answer


@pytest.mark.parametrize("ranks", [2, 4])
def test_processes_give_the_bits_and_move_the_bytes_of_threads(ranks: int, tmp_path: Path) -> None:
    with ring("compute", ranks, tmp_path) as processes:
        assert [process.wait(100) for process in processes] == [0] * ranks
    text = case(ranks)
    for name, way in WAYS.items():
        expected = ran(text, way)
        for rank in range(ranks):
            out, lse, moved = torch.load(tmp_path / f"{rank}.pt")[name]
            rows = text.rows(rank) - text.start
            assert torch.equal(out, expected.out[rows])
            assert torch.equal(lse, expected.lse[rows])
            assert moved == expected.bytes[rank]


@pytest.mark.parametrize("ranks", [2, 4])
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_lost_rank_is_noticed_in_time(how: signal.Signals, ranks: int, tmp_path: Path) -> None:
    with ring("turn", ranks, tmp_path) as processes:
        assert [said(process) for process in processes] == [{"turning": True}] * ranks
        lost = ranks - 2
        processes[lost].send_signal(how)
        reports = {rank: said(process) for rank, process in enumerate(processes) if rank != lost}
    assert max(report["seconds"] for report in reports.values()) < TIMEOUT + 1.0
    neighbour = reports[ranks - 1]  # waits for the lost one; others may wait for each other
    assert neighbour["rank"] == lost
    # The end of a process is noticed when it ends, its silence only after the timeout.
    assert (neighbour["seconds"] < TIMEOUT / 2) == (how == signal.SIGKILL)


def test_all_of_it_listens_on_loopback(tmp_path: Path) -> None:
    with ring("turn", 2, tmp_path) as processes:
        assert [said(process) for process in processes] == [{"turning": True}] * 2
        found = [c for p in processes for c in psutil.Process(p.pid).net_connections() if c.laddr]
    assert found
    assert {connection.laddr.ip for connection in found} == {"127.0.0.1"}
