"""Who is cut off hears nothing and is not heard, by connections old and new; and all of it arrives later."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ALONE = [shutil.which("unshare") or "false", "-rn"]
INSIDE = """
import socket, subprocess, psutil
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
from tests.chaos.cutting import Cut, can_cut
assert can_cut()
other = subprocess.Popen(["sleep", "100"])
try:
    with socket.create_server(("127.0.0.1", 0)) as server:
        here = server.getsockname()
        with socket.create_connection(here) as out, server.accept()[0] as back:
            def said(word):
                out.sendall(word)
                back.settimeout(0.5)
                try:
                    return back.recv(9)
                except TimeoutError:
                    return b""
            assert said(b"a") == b"a"
            cut = Cut([psutil.Process(other.pid)])
            assert said(b"b") == b"b", "another is cut off"
            cut.mend()
            cut = Cut([psutil.Process()])
            assert said(b"c") == b""
            try:
                socket.create_connection(here, 0.5)
            except OSError:
                pass
            else:
                raise AssertionError("who calls is heard")
            cut.mend()
            back.settimeout(20)
            assert back.recv(9) == b"c"
            assert said(b"d") == b"d"
        socket.create_connection(here, 5).close()
finally:
    other.kill()
    other.wait()
"""


@pytest.mark.skipif(
    subprocess.run([*ALONE, "ip", "rule"], capture_output=True).returncode != 0,
    reason="the kernel allows no network namespace",
)
def test_a_cut_is_silence_until_it_is_mended() -> None:
    root = Path(__file__).parents[2]
    done = subprocess.run([*ALONE, sys.executable, "-c", INSIDE], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
