"""A world of processes under one schedule: it runs until everybody has read what there was to read."""

import asyncio
import random
from types import SimpleNamespace
from unittest.mock import patch

from ringroad.actors.engine import tenant
from ringroad.actors.gateway import routes, session
from tests.simulation.clients import Reader, read
from tests.simulation.gateway import RESUME, GatewayProcess
from tests.simulation.holding import held
from tests.simulation.ledger import Memory
from tests.simulation.loop import Loop, Stuck
from tests.simulation.network import Connection
from tests.simulation.processes import SILENT, Caller, Process, RouterProcess
from tests.simulation.roles import RoleProcess
from tests.simulation.schedule import AWAY, Fault, Schedule

HORIZON = 11.0  # seconds after the last fault in which everything must have ended
LOOK = 0.25  # how often that is looked for
QUIET = SILENT + RESUME + 1.0  # seconds in which everybody notices that it has
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
        self.ledger = Memory(self)
        self.readers = {ask.name: Reader(ask) for ask in schedule.asks}
        self.held: dict[str, str] = {}  # by processes at the end, of requests that are over
        self._draw = random.Random(f"{schedule.seed} world")
        self._apart: list[set[str]] = []
        self._faults = 0  # that are not over yet
        self._going: list[Fault] = []
        self._lives: dict[str, int] = {}

    def run(self) -> list[str]:
        """Everything to its end; what went wrong."""
        watch = SimpleNamespace(perf_counter=self._watch)
        dice = SimpleNamespace(token_hex=lambda size: self._draw.randbytes(size).hex())
        clock = SimpleNamespace(monotonic=self.loop.time)
        with (
            patch.object(tenant, "time", watch),
            patch.object(routes, "secrets", dice),
            patch.object(session, "time", clock),
        ):
            for name in self.schedule.processes:
                self._start(name)
            clients = [self.loop.create_task(read(self, reader)) for reader in self.readers.values()]
            for fault in self.schedule.faults:
                self._faults += 1
                self.loop.call_at(fault.at, self._break, fault)
            self.loop.call_later(LOOK, self._look)
            try:
                self.loop.run_forever()
            except Stuck as stuck:
                self.wrong(str(stuck))
            self._end(clients)
        return self.errors

    def wrong(self, what: str) -> None:
        """Something that must not happen."""
        self.say(f"WRONG: {what}")
        self.errors.append(what)

    def say(self, what: str) -> None:
        """A line of the trace."""
        if self.tracing:
            self.trace.append(f"{self.loop.time():9.4f} {what}")

    def router(self, draw: random.Random, name: str = "") -> RouterProcess | None:
        """One that lives: that of a name, or any."""
        routers = [each for each in self.processes.values() if isinstance(each, RouterProcess)]
        found = [each for each in routers if each.alive and name in ("", each.name)]
        return draw.choice(found) if found else None

    def apart(self, one: str, other: str) -> bool:
        """Whether nothing goes between two processes now."""
        return {one, other} in self._apart

    def gateway(self, draw: random.Random) -> GatewayProcess | None:
        """One that answers."""
        found = [each for each in self._gateways() if each.alive and not each.stalled]
        return draw.choice(found) if found else None

    def _gateways(self) -> list[GatewayProcess]:
        return [each for each in self.processes.values() if isinstance(each, GatewayProcess)]

    def _end(self, clients: list[asyncio.Task[None]]) -> None:
        """Whoever still does something does so no longer."""
        for client in clients:
            if client.done() and client.exception() is not None:
                self.wrong(f"a client raised {client.exception()!r}")
        self.held = {name: held(each, self.schedule.harsh) for name, each in self.processes.items()}
        for process in self.processes.values():
            process.alive = False
        self.loop.begin_again()
        tasks = asyncio.all_tasks(self.loop)
        for task in tasks:
            task.cancel()
        self.loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self.loop.close()

    def _watch(self) -> float:
        """Called before a step and behind it: in between all of its seconds go by."""
        now, self._at = getattr(self, "_at", 0.0), getattr(self, "_at", 0.0) + self.seconds
        return now

    def _start(self, name: str) -> None:
        life = self._lives[name] = self._lives.get(name, -1) + 1
        process = KINDS[name.rstrip("0123456789")](self, name, life)
        self.processes[name] = process

    def _break(self, fault: Fault) -> None:
        self.say(f"FAULT: {fault}")
        process = self.processes.get(fault.target)
        self._going.append(fault)
        match fault.kind:
            case "crash" if process is not None and process.alive:
                process.crash()
            case "stall" if process is not None and process.alive:
                process.stall()
            case "slow" if isinstance(process, RoleProcess):
                process.slow = True
            case "away":
                self.ledger.away = True
            case "cut":
                for connection in self._between(fault):
                    connection.cut()
            case "apart":
                self._apart.append(set(fault.target.split()))
                for connection in self._between(fault):
                    connection.hold()
        self.loop.call_later(fault.seconds, self._mended, fault, process)

    def _mended(self, fault: Fault, process: Process | None) -> None:
        self.say(f"OVER: {fault}")
        self._faults -= 1
        self._going.remove(fault)
        match fault.kind:
            case "crash" if not self.processes[fault.target].alive:
                self._start(fault.target)
            case "stall" if process is not None and process.alive and process.stalled:
                process.wake()
            case "slow" if isinstance(process, RoleProcess):
                process.slow = False
            case "away" if not any(each.kind == AWAY and each is not fault for each in self._going):
                self.ledger.away = False
                for each in self._gateways():
                    each.handle.flush()
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
        over = not self._faults and all(reader.over for reader in self.readers.values())
        last = max((fault.at + fault.seconds for fault in self.schedule.faults), default=0.0)
        if over or self.loop.time() > last + HORIZON:
            self.loop.call_later(QUIET, self.loop.stop)
        else:
            self.loop.call_later(LOOK, self._look)

    def _raised(self, loop: object, context: dict) -> None:
        error = context.get("exception")
        self.wrong(f"raised {type(error).__name__}: {error}" if error else str(context.get("message")))
