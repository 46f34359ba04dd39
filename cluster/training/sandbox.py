"""Runs a program that a model has written: apart from the network, bounded in time and memory."""

import subprocess
import sys
import tempfile
from functools import cache

SECONDS = 5
BYTES = 10**9

_CLOSED = (
    "socket.",
    "subprocess.",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
    "os.kill",
    "ctypes.",
)

# Limits are set, and doors closed, by the process itself before it reads what it is to run.
_GUARD = f"""
import resource, sys
resource.setrlimit(resource.RLIMIT_CPU, ({SECONDS}, {SECONDS}))
resource.setrlimit(resource.RLIMIT_AS, ({BYTES}, {BYTES}))
resource.setrlimit(resource.RLIMIT_FSIZE, (10**6, 10**6))
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
program = compile(sys.stdin.read(), "answer", "exec")
def guard(event, arguments):
    if event.startswith({_CLOSED}):
        raise PermissionError(event)
sys.addaudithook(guard)
exec(program, {{"__name__": "answer"}})
"""


def passes(program: str) -> bool:
    """Whether a program ends by itself, in time and without an error."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            ended = subprocess.run(
                [*_apart(), sys.executable, "-I", "-c", _GUARD],
                input=program.encode(errors="replace"),
                cwd=folder,
                env={},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=2 * SECONDS,
            )
        except subprocess.TimeoutExpired:
            return False
    return ended.returncode == 0


@cache
def _apart() -> tuple[str, ...]:
    """What starts a process without a network, where this machine lets users do so; the guard refuses
    sockets in any case."""
    alone = ("unshare", "--user", "--map-root-user", "--net", "--")
    try:
        tried = subprocess.run([*alone, "true"], stderr=subprocess.DEVNULL)
    except OSError:
        return ()
    return alone if tried.returncode == 0 else ()
