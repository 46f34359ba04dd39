"""Cuts processes off, in a network namespace of one's own: what goes to their ports or comes of them is lost.

That is a rule of routing for each port, which needs no packet filter. TCP sends again what was lost, so what
was said meanwhile arrives when the cut is over, as it does where a cable was pulled.
"""

import subprocess
from collections.abc import Sequence
from contextlib import suppress

import psutil

_LOCAL = 1000  # the preference of what the kernel knows of its own addresses; rules have to come before it
_RULE = 100


def can_cut() -> bool:
    """Whether this kernel cuts here. Only for a namespace of one's own: it moves a rule of the kernel's."""
    return not (_ip("rule", "add", "pref", str(_LOCAL), "lookup", "local") or _forget_first())


class Cut:
    """Some processes are cut off from now until `mend`."""

    def __init__(self, processes: Sequence[psutil.Process]) -> None:
        self._processes = processes
        self._ports: set[int] = set()
        self.look()

    def look(self) -> None:
        """Cuts connections, too, that were made since."""
        for process in self._processes:
            with suppress(psutil.NoSuchProcess):
                for each in process.net_connections("tcp"):
                    self._lose(each.laddr.port)

    def mend(self) -> None:
        """All is as it was."""
        for port in self._ports:
            _rules("del", port)
        self._ports.clear()

    def _lose(self, port: int) -> None:
        if port not in self._ports:
            self._ports.add(port)
            _rules("add", port)


def _rules(verb: str, port: int) -> None:
    for end in ("sport", "dport"):
        _ip("rule", verb, "pref", str(_RULE), "ipproto", "tcp", end, str(port), "blackhole")


def _forget_first() -> int:
    """The kernel has that rule in front of all others."""
    return _ip("rule", "del", "pref", "0", "lookup", "local")


def _ip(*words: str) -> int:
    return subprocess.run(["ip", *words], capture_output=True).returncode
