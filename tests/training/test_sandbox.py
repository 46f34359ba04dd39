"""Programs that would cheat or harm, and what honest ones need."""

import subprocess
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from ringroad.cluster.training import sandbox
from ringroad.cluster.training.sandbox import passes


@pytest.mark.parametrize(
    "cheat",
    [
        "import sys\nsys.exit(0)",
        "import sys\nsys.exit()",
        "import os\nos._exit(0)",
        "raise SystemExit",
        "raise SystemExit(0)",
        "exit()",
        "quit(0)",
        "import sys\nprint('OK', flush=True)\nsys.stdout.write('passed')\nsys.stdout.flush()\nsys.exit(0)",
        "import os, signal\nos.kill(os.getpid(), signal.SIGTERM)",
        "import atexit, os\natexit.register(os._exit, 0)\nraise ValueError",
        "import sys\nsys.excepthook = lambda *args: None\nraise ValueError",
        "import threading, os\nthreading.Thread(target=os._exit, args=(0,)).start()\nwhile True: pass",
        "import sys\nsys.modules['__main__'].__dict__.clear()\nsys.exit(0)",
        "def f(:",
        "1/0",
        "\x00",
        "assert False",
    ],
)
def test_leaving_before_the_end_is_no_pass(cheat: str) -> None:
    assert not passes(f"{cheat}\nassert 1 + 1 == 2\n")


def test_what_a_program_says_is_no_verdict_either_way() -> None:
    for loud in (
        "print('no' * 10**6)",
        "import sys; print('failed', file=sys.stderr)",
        "import os; os.write(1, b'x')",
    ):
        assert passes(f"{loud}\n")
        assert not passes(f"{loud}\nassert False\n")


@pytest.mark.parametrize(
    "program",
    [
        "assert 'é' == '\\u00e9' and len('日本') == 2",
        "assert __name__ != '__main__'",
        "import collections, functools, heapq, itertools, math, re, string, typing",
        "import sys\nsys.setrecursionlimit(10**4)",
        "import socket, subprocess, shutil, tempfile  # unused",
        "x = [0] * 10**7",
        "",
    ],
)
def test_what_programs_need_they_have(program: str) -> None:
    assert passes(program)


@pytest.mark.parametrize(
    "program",
    [
        "import socket\nsocket.socket()",
        "import socket\nsocket.getaddrinfo('localhost', 80)",
        "import os\nos.system('true')",
        "import subprocess\nsubprocess.run(['true'])",
        "import os\nos.fork()",
        "import os\nos.execv('/bin/true', ['true'])",
        "import os\nos.posix_spawn('/bin/true', ['true'], {})",
        "import os\nos.kill(os.getppid(), 0)",
        "import ctypes\nctypes.CDLL(None)",
        "x = bytearray(2 * 10**9)",
    ],
)
def test_doors_are_closed(program: str) -> None:
    """Each of these would end well outside."""
    assert not passes(program)


def test_limits_hold_from_the_first_line() -> None:
    limits = {"CPU": 3, "AS": sandbox.BYTES, "CORE": 0}
    for name, limit in limits.items():
        assert passes(f"import resource as r\nassert r.getrlimit(r.RLIMIT_{name}) == ({limit}, {limit})", 3)


def test_the_word_that_says_so_is_another_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    words: list[bytes] = []
    run: Callable[..., object] = subprocess.run

    def heard(*args: object, input: bytes, **settings: object) -> object:
        words.append(input.splitlines()[0])
        return run(*args, input=input, **settings)

    sandbox._apart()  # asks only once
    monkeypatch.setattr("subprocess.run", heard)
    assert passes("")
    assert passes("")
    assert len(set(words)) == 2
    assert min(map(len, words)) >= 16


@pytest.mark.parametrize("spin", ["while True: pass", "import time\ntime.sleep(60)"])
def test_what_takes_too_long_is_stopped(spin: str) -> None:
    assert not passes(spin, seconds=1)


def test_files_of_others_are_safe(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.write_text("all of it")
    for harm in (
        f"open({str(kept)!r}, 'w')",
        f"open({str(kept)!r}, 'a').write('more')",
        f"open({str(kept)!r}, 'r+').write('less')",
        f"import os\nos.open({str(kept)!r}, os.O_WRONLY | os.O_TRUNC)",
        f"import os\nos.truncate({str(kept)!r}, 0)",
        f"import os\nos.remove({str(kept)!r})",
        f"import os\nos.rename({str(kept)!r}, {str(tmp_path / 'other')!r})",
        f"import os\nos.chmod({str(kept)!r}, 0)",
        f"import os\nos.mkdir({str(tmp_path / 'new')!r})",
        f"import os\nos.symlink({str(kept)!r}, {str(tmp_path / 'new')!r})",
        f"import shutil\nshutil.rmtree({str(tmp_path)!r})",
        f"import pathlib\npathlib.Path({str(tmp_path / 'new')!r}).write_text('x' * 10**9)",
        "open('big', 'w').write('x' * 10**9)",
    ):
        assert not passes(harm), harm
        assert [path.name for path in tmp_path.iterdir()] == ["kept"], harm
        assert kept.read_text() == "all of it", harm
    assert passes(f"assert open({str(kept)!r}).read() == 'all of it'")


def test_the_network_is_out_of_reach_where_the_machine_can_do_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even with the guard's own door left open."""
    if subprocess.run(["unshare", "--user", "--map-root-user", "--net", "true"]).returncode:
        pytest.skip("this machine lets nobody unshare a network")
    reached = threading.Event()

    class Reached(BaseHTTPRequestHandler):
        def setup(self) -> None:
            reached.set()
            super().setup()

    with HTTPServer(("127.0.0.1", 0), Reached) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            monkeypatch.setattr(sandbox, "_GUARD", sandbox._GUARD.replace("'socket.', ", ""))
            call = f"import socket\nsocket.create_connection(('127.0.0.1', {server.server_address[1]}), 2)"
            assert passes("import socket\nsocket.socket().close()"), "that door is open"
            assert not passes(call)
            monkeypatch.setattr(sandbox, "_apart", lambda: ())
            assert not reached.is_set()
            assert passes(f"{call}.close()"), "and the server is there"
        finally:
            server.shutdown()
            thread.join()
