"""The command line as a process: signals, pipes, terminals, and what it loads."""

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.cluster.fakes import HELLO, LENGTH, FakeGateway, says

SECONDS = 60.0  # for a process to start and end, on a busy machine
RINGROAD = [sys.executable, "-m", "ringroad.cluster.cli"]


@pytest.fixture
def gateway() -> Iterator[FakeGateway]:
    with FakeGateway() as gateway:
        yield gateway


@contextmanager
def generating(gateway: FakeGateway) -> Iterator["subprocess.Popen[bytes]"]:
    command = [*RINGROAD, "generate", "--target", gateway.target, "hi"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env=environment, **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


def test_ctrl_c_cancels_on_the_server_and_is_130(gateway: FakeGateway) -> None:
    gateway.script = gateway.hold
    with generating(gateway) as process:
        assert process.stdout
        assert process.stdout.read(3) == b"Hel"  # as it comes, not at the end
        assert not gateway.ended.is_set()
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=SECONDS)
        assert process.returncode == 130
    assert b"Traceback" not in stderr
    assert gateway.ended.wait(SECONDS)


def test_a_reader_that_has_enough_cancels_on_the_server(gateway: FakeGateway) -> None:
    gateway.script = lambda request, context: iter([HELLO[0]] * 10**6)
    with generating(gateway) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.read(3)
        process.stdout.close()
        assert process.wait(SECONDS) == 1
        assert b"Traceback" not in process.stderr.read()
    assert gateway.ended.wait(SECONDS)


def test_on_a_terminal_the_prompt_comes_back_on_its_own_line(gateway: FakeGateway) -> None:
    gateway.script = says(HELLO[0], LENGTH)
    ours, theirs = pty.openpty()
    command = [*RINGROAD, "generate", "--target", gateway.target, "hi"]
    subprocess.run(command, stdout=theirs, stderr=subprocess.PIPE, timeout=SECONDS, check=True)
    os.close(theirs)
    assert os.read(ours, 100) == b"Hel\r\n"
    os.close(ours)


def test_help_loads_nothing_heavy_and_tells_the_exit_codes() -> None:
    code = (
        "import sys\nfrom ringroad.cluster.cli import main\n"
        "try: main(['generate', '--help'])\n"
        "finally: print(*{'ray', 'torch', 'numpy', 'grpc', 'huggingface_hub'} & set(sys.modules))"
    )
    shown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert shown.splitlines()[-1] == ""
    for exit_code in ("0 the", "1 another", "2 wrong", "3 no", "4 past", "5 the", "130 interrupted"):
        assert exit_code in " ".join(shown.split())
