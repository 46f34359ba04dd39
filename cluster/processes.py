"""The processes of a running cluster: which they are, and how all of them end."""

import os
import time
from collections.abc import Callable

import psutil

_TICK_SECONDS = 0.1
_SETTLE_SECONDS = 5.0  # for the rest to follow a head that has ended
_KILL_SECONDS = 5.0  # what the kernel may take to end a killed process


class StillAlive(Exception):
    """Processes that even SIGKILL did not end in time."""


class Family:
    """A process, all below it, and all of its session if it leads one.

    Members are kept once seen, so children whose parent has gone are still known; psutil compares
    start times, so a process that took over a number is no member.
    """

    def __init__(self, head: psutil.Process) -> None:
        self.head = head
        self._leads = _session(head.pid) == head.pid
        self._seen = {head}

    def alive(self) -> list[psutil.Process]:
        """The members that still run, the head first."""
        self._look()
        self._seen = {member for member in self._seen if _alive(member)}
        return sorted(self._seen, key=lambda member: (member != self.head, member.pid))

    def end(self, patience: float) -> None:
        """SIGTERM to the head alone, which has `patience` seconds; who does not follow it is killed.

        Raises StillAlive.
        """
        self._look()
        try:
            self.head.terminate()
        except psutil.NoSuchProcess:
            pass
        headless = _within(patience, lambda: self.head not in self.alive())
        if headless and _within(_SETTLE_SECONDS, lambda: not self.alive()):
            return
        if not _within(_KILL_SECONDS, self._killed):
            raise StillAlive(f"still alive: {', '.join(str(member.pid) for member in self.alive())}")

    def _killed(self) -> bool:
        for member in self.alive():
            try:
                member.kill()
            except psutil.NoSuchProcess:
                pass
        return not self.alive()

    def _look(self) -> None:
        try:
            self._seen |= set(self.head.children(recursive=True))
        except psutil.NoSuchProcess:
            pass
        # While a member holds the session's number no other session can get it.
        if self._leads and any(
            _session(member.pid) == self.head.pid for member in self._seen if _alive(member)
        ):
            self._seen |= {p for p in psutil.process_iter() if _session(p.pid) == self.head.pid}


def _alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return None


def _within(seconds: float, done: Callable[[], bool]) -> bool:
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            return False
        time.sleep(_TICK_SECONDS)
    return True
