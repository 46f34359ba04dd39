"""A world of processes under one schedule: it runs until everybody has read what there was to read."""

import random
from types import SimpleNamespace
from unittest.mock import patch

from ringroad.actors.engine import tenant
from tests.simulation.gateway import GatewayProcess, Reader
from tests.simulation.loop import Loop
from tests.simulation.network import Connection
from tests.simulation.processes import SILENT, Caller, Process, RoleProcess, RouterProcess
from tests.simulation.schedule import APART, CRASH, CUT, SLOW, STALL, Ask, Fault, Schedule

HORIZON = 60.0  # seconds after the last fault in which everything must have ended
LOOK = 0.25  # how often that is looked for
QUIET = SILENT + 2.0  # seconds in which everybody notices that it has
KINDS: dict[str, type[Process]] = {
    "router": RouterProcess,
    "gateway": GatewayProcess,
    "drafter": RoleProcess,
    "verifier": RoleProcess,
}


class World:
    """Its processes by name, and what clients have read. `errors` are what must not have happened."""

    def __init__(self, schedule: Schedule, tracing: bool = False) -> None:
        self.schedule = schedule
        self.tracing = tracing
        self.trace: list[str] = []
        self.errors: list[str] = []
        self.loop = Loop()
        self.loop.set_exception_handler(self._raised)
        self.seconds = 0.0  # that the step in hand takes
        self.processes: dict[str, Process] = {}
        self.readers = {ask.name: Reader(ask) for ask in schedule.asks}
        self.did_without: dict[str, set[str]] = {}  # of sessions that have ended at a router: its roles
        self._draw = random.Random(f"{schedule.seed} world")
        self._apart: list[set[str]] = []
        self._broken = 0  # faults that are not over yet
        self._lives: dict[str, int] = {}
        self._routers: list[RouterProcess] = []  # all there ever were

    def run(self) -> list[str]:
        """Everything to its end; what went wrong."""
        watch = SimpleNamespace(perf_counter=self._watch)
        with patch.object(tenant, "time", watch):
            for name in self.schedule.processes:
                self._start(name)
            for ask in self.schedule.asks:
                self.loop.call_at(ask.at, self._ask, ask)
            for fault in self.schedule.faults:
                self._broken += 1
                self.loop.call_at(fault.at, self._break, fault)
            self.loop.call_later(LOOK, self._look)
            self.loop.run_forever()
            self.loop.close()
        return self.errors

    def wrong(self, what: str) -> None:
        """Something that must not happen."""
        self.say(f"WRONG: {what}")
        self.errors.append(what)

    def say(self, what: str) -> None:
        """A line of the trace."""
        if self.tracing:
            self.trace.append(f"{self.loop.time():9.4f} {what}")

    def router(self, draw: random.Random) -> RouterProcess | None:
        """One that lives, wherever it is found."""
        found = [each for each in self.processes.values() if isinstance(each, RouterProcess) and each.alive]
        return draw.choice(found) if found else None

    def apart(self, one: str, other: str) -> bool:
        """Whether nothing goes between two processes now."""
        return {one, other} in self._apart

    def degraded(self, name: str) -> set[str]:
        """What any router had to do without for a session."""
        found = (each.router._running.get(name) for each in self._routers)
        return self.did_without.get(name, set()) | {
            role for running in found if running is not None for role in running.state.counts.degraded
        }

    def _watch(self) -> float:
        """Called before a step and behind it: in between all of its seconds go by."""
        now, self._at = getattr(self, "_at", 0.0), getattr(self, "_at", 0.0) + self.seconds
        return now

    def _start(self, name: str) -> None:
        life = self._lives[name] = self._lives.get(name, -1) + 1
        process = KINDS[name.rstrip("0123456789")](self, name, life)
        self.processes[name] = process
        if isinstance(process, RouterProcess):
            self._routers.append(process)

    def _ask(self, ask: Ask) -> None:
        gateways = [each for each in self.processes.values() if isinstance(each, GatewayProcess)]
        there = [each for each in gateways if each.alive and not each.stalled]
        if there:
            self._draw.choice(there).ask(self.readers[ask.name])
        else:
            self.loop.call_later(LOOK, self._ask, ask)

    def _break(self, fault: Fault) -> None:
        self.say(f"FAULT: {fault}")
        process = self.processes.get(fault.target)
        over = self._mended
        match fault.kind:
            case "crash" if process is not None and process.alive:
                process.crash()
            case "stall" if process is not None and process.alive:
                process.stall()
            case "slow" if isinstance(process, RoleProcess):
                process.slow = True
            case "cut":
                for connection in self._between(fault):
                    connection.cut()
            case "apart":
                self._apart.append(set(fault.target.split()))
                for connection in self._between(fault):
                    connection.hold()
        self.loop.call_later(fault.seconds, over, fault, process)

    def _mended(self, fault: Fault, process: Process | None) -> None:
        self.say(f"OVER: {fault}")
        self._broken -= 1
        match fault.kind:
            case "crash" if not self.processes[fault.target].alive:
                self._start(fault.target)
            case "stall" if process is not None and process.stalled:
                process.wake()
            case "slow" if isinstance(process, RoleProcess):
                process.slow = False
            case "apart":
                self._apart.remove(set(fault.target.split()))
                if not self.apart(*fault.target.split()):
                    for connection in self._between(fault):
                        connection.release()

    def _between(self, fault: Fault) -> list[Connection]:
        spoke, router = fault.target.split()
        process = self.processes[spoke]
        found = process.connections() if isinstance(process, Caller) else []
        return [each for each in found if each.router.name == router]

    def _look(self) -> None:
        over = not self._broken and all(reader.over for reader in self.readers.values())
        last = max((fault.at + fault.seconds for fault in self.schedule.faults), default=0.0)
        if over or self.loop.time() > last + HORIZON:
            self.loop.call_later(QUIET, self.loop.stop)
        else:
            self.loop.call_later(LOOK, self._look)

    def _raised(self, loop: object, context: dict) -> None:
        error = context.get("exception")
        self.wrong(f"raised {type(error).__name__}: {error}" if error else str(context.get("message")))


__all__ = ["APART", "CRASH", "CUT", "SLOW", "STALL", "World"]
