"""Drafters and verifiers of a simulated world: the real ones, driven as `hosting.py` does it."""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from msgspec import structs

from ringroad.actors.drafter.corpus import Corpus
from ringroad.actors.drafter.model import ModelDrafter
from ringroad.actors.drafter.plan import Plan
from ringroad.actors.drafter.strategies.suffix import Suffix
from ringroad.actors.drafter.strategy import Ensemble
from ringroad.actors.messages import Hello, Message
from ringroad.actors.shared import Shared
from ringroad.actors.verifier.verifier import Verifier
from tests.simulation.models import LARGE, SMALL, Looking
from tests.simulation.network import Connection

if TYPE_CHECKING:
    from tests.simulation.world import World

from tests.simulation.processes import Caller


class RoleProcess(Caller):
    """A drafter or verifier, as `run_role` runs it."""

    def __init__(self, world: "World", name: str, life: int) -> None:
        routers = [each for each in world.schedule.processes if each.startswith("router")]
        super().__init__(world, name, life, routers)
        self.slow = False
        self.role = role_of(world, name)
        self.shared = Shared(self.role)
        self._inbox: deque[tuple[bytes, Sequence[Message] | None]] = deque()  # None: the router is gone
        self._working = False

    def hello(self) -> Hello:
        place = ["here"] if self.world.schedule.shared else [self.name]
        return structs.replace(self.role.hello(), place=place)

    def take(self, connection: Connection, messages: Sequence[Message]) -> None:
        self._inbox.append((connection.identity, messages))
        self._work()

    def parted(self, connection: Connection) -> None:
        self._inbox.append((connection.identity, None))
        self._work()

    def _work(self) -> None:
        if self._working:
            return
        while self._inbox:
            router, messages = self._inbox.popleft()
            if messages is None:
                self.shared.lost(router)
            else:
                self.shared.receive(router, messages)
        if not self.role.busy:
            return
        self._working = True
        self.world.seconds = (0.02 if isinstance(self.role, Verifier) else 0.005) * (0.5 + self.draw.random())
        if self.slow:
            self.world.seconds *= 20
        # What a drafter reads while nobody asks need not be the text.
        self.role._engine.texts = self.role._held if self.role.asked else None
        try:
            answers = self.shared.step()
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not be
            self.world.wrong(f"a step of {self.name} raised {type(error).__name__}: {error}")
            answers = self.shared.rescue()
        self.later(self.world.seconds, self._worked, answers)

    def _worked(self, answers: Mapping[bytes, Sequence[Message]]) -> None:
        for connection in self.connections():
            if told := answers.get(connection.identity):
                connection.up.send(told)
        self._working = False
        self._work()


def role_of(world: "World", name: str) -> Verifier | ModelDrafter:
    """A drafter or verifier that has just been started."""
    schedule = world.schedule
    if name.startswith("verifier"):
        return Verifier(Looking(LARGE, schedule.blocks), LARGE, schedule.chunk)
    free = Ensemble([Suffix(Corpus())] if schedule.strategies else [])
    plan = Plan(free, second_choices=schedule.second_choices, two_levels=schedule.strategies, enough=2.0)
    return ModelDrafter(Looking(SMALL, schedule.blocks), SMALL, schedule.chunk, plan=plan)
