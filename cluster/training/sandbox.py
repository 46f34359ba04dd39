"""Runs a program that a model has written: apart from the network and from anybody's files, bounded in time
and memory."""

import subprocess
import sys
import tempfile
from functools import cache
from secrets import token_hex

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
    "os.remove",
    "os.rename",
    "os.rmdir",
    "os.mkdir",
    "os.link",
    "os.symlink",
    "os.truncate",
    "os.chmod",
    "os.chown",
    "shutil.",
    "ctypes.",
)

# Limits are set, and doors closed, by the process itself before it runs what it is given. That the program
# came to its end is said with a word from outside, on what was standard output until then: one that leaves
# early, whatever its status, has not said it. (One that searches its own interpreter could: none is so sly.)
_GUARD = f"""
import os, resource, sys
seconds = int(sys.argv.pop())
resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
resource.setrlimit(resource.RLIMIT_AS, ({BYTES}, {BYTES}))
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
word, _, source = sys.stdin.read().partition("\\n")
program = compile(source, "answer", "exec")
end, write, writable = os.dup(1), os.write, os.O_WRONLY | os.O_RDWR
os.dup2(2, 1)
def guard(event, arguments):
    if event.startswith({_CLOSED}) or (event == "open" and arguments[2] & writable):
        raise PermissionError(event)
sys.addaudithook(guard)
exec(program, {{"__name__": "answer"}})
write(end, word.encode())
"""


def passes(program: str, seconds: int = SECONDS) -> bool:
    """Whether a program runs to its last line, in so much processor time and without an error."""
    word = token_hex()
    with tempfile.TemporaryDirectory() as folder:
        try:
            ended = subprocess.run(
                [*_apart(), sys.executable, "-I", "-B", "-c", _GUARD, str(seconds)],
                input=f"{word}\n{program}".encode(errors="replace"),
                cwd=folder,
                env={},
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                timeout=2 * seconds,
            )
        except subprocess.TimeoutExpired:
            return False
    return ended.returncode == 0 and ended.stdout == word.encode()


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
