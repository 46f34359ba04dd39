"""What drafter and verifier have in common: both follow sessions' texts on an engine they rent."""

import logging
import time
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from msgspec import structs

from ringroad.actors.engine.engine import Engine, Outcome, Work
from ringroad.actors.engine.pool import BLOCK
from ringroad.actors.engine.schedule import Schedule
from ringroad.actors.errors import traced
from ringroad.actors.figures import RoleFigures
from ringroad.actors.messages import (
    Close,
    Consult,
    Draft,
    Failed,
    Forgotten,
    Hello,
    Message,
    Open,
    Pass,
    Welcome,
)
from ringroad.actors.texts import Behind, follow
from ringroad.actors.tracing import Trails
from ringroad.kernels.ring.communicator import RingBroken

log = logging.getLogger(__name__)

Ask = TypeVar("Ask", Draft, Consult)


@dataclass
class Task(Generic[Ask]):
    """A question in hand, and what its steps took so far."""

    ask: Ask
    length: int  # of the committed text the question is about
    seconds: float = 0.0  # of this role's steps
    took: Pass | None = None  # the first of them that gave a token


@dataclass
class Held:
    """A session as this role knows it; the engine's cache may lag behind its text."""

    epoch: int
    text: list[int] = field(default_factory=list)
    committed: int = 0  # tokens of it, as far as the last question said


class Tenant(Generic[Ask]):
    """A plain role: messages in through `receive`, answers out of `step`.

    Subclasses say what to compute for a question (`_work`) and when it is answered (`_answer`).
    """

    role: str
    question: type[Ask]

    def __init__(self, engine: Engine, model: str, prefill_chunk: int = 256, step_tokens: int = 256) -> None:
        self._engine = engine
        self._model = model
        self._schedule = Schedule(engine, prefill_chunk, step_tokens)
        self._router = ""
        self._held: dict[str, Held] = {}
        self._tasks: dict[str, Task[Ask]] = {}
        self._outbox: list[Message] = []
        self._trails = Trails()
        self._figures = RoleFigures(kv_room=engine.longest + BLOCK)

    @property
    def busy(self) -> bool:
        """Whether `step` has anything to do."""
        return self.asked

    @property
    def asked(self) -> bool:
        """Whether somebody waits for that."""
        return bool(self._tasks or self._outbox)

    def hello(self) -> Hello:
        """Who this is, and how full."""
        shape, figures, schedule = self._engine.model.shape, self._figures, self._schedule
        figures.found, figures.read, figures.kv_held = schedule.found, schedule.read, self._engine.held_tokens
        return Hello(
            role=self.role,
            model=self._model,
            vocabulary=shape.vocabulary,
            context=shape.context,
            sessions=len(self._held),
            cached_tokens=self._engine.cached_tokens,
            idle_tokens=self._engine.idle_tokens,
            found_share=self._schedule.found_share,
            longest=self._engine.longest,
            figures=self._figures,
        )

    def receive(self, message: Message) -> None:
        """Takes in one message from the router."""
        match message:
            case Open(session=session, epoch=epoch):
                if (held := self._held.get(session)) is not None and held.epoch >= epoch:
                    return  # told before: it voids nothing that was begun since
                self._drop(session)
                self._held[session] = Held(epoch)
                self._opened(message)
                self._trails.begin(session, self.role, message.trace)
            case Close(session=session):
                self._drop(session)
            case Welcome(router=router) if router != self._router:
                # Another router knows nothing of what was held for the one before.
                self._router = router
                for session in list(self._held):
                    self._drop(session)
            case Draft() | Consult() if isinstance(message, self.question):
                self._take(message)

    def step(self) -> list[Message]:
        """One forward pass for every question in hand; the answers it completed."""
        answers = self._compute(list(self._tasks.values())) if self._tasks else []
        told, self._outbox = self._outbox, []
        return told + answers

    def rescue(self) -> list[Message]:
        """After a step that raised: every question by itself, so that only the one at fault fails."""
        answers: list[Message] = []
        for task in list(self._tasks.values()):
            try:
                answers += self._compute([task])
            except RingBroken:
                raise  # no session is at fault, and none can go on here
            except Exception as error:  # noqa: BLE001 - any: the session is given up for it
                log.error("a session is given up for %s", traced(error))
                answers.append(Failed(task.ask.session, task.ask.epoch, f"{type(error).__name__} in a step"))
                self._drop(task.ask.session)
                self._figures.failed += 1
        return answers

    def _compute(self, tasks: list[Task[Ask]]) -> list[Message]:
        started = time.perf_counter()
        batch = self._plan(tasks)
        outcomes = self._engine.step(batch) if batch else []
        seconds = time.perf_counter() - started
        took = Pass(seconds, sum(len(work.tokens) for work in batch), len(batch))
        if batch:
            self._figures.steps.observe(seconds)
            self._figures.rows += took.rows
        answers: list[Message] = []
        for work, outcome in zip(batch, outcomes, strict=True):
            task = self._tasks[work.session]
            task.seconds += seconds
            if outcome.tokens:
                last = task.took
                task.took = took if last is None else structs.replace(last, passes=last.passes + 1)
            answer = self._answer(task, work, outcome) if outcome.tokens else None
            if answer is not None:
                del self._tasks[work.session]
                answers.append(answer)
                if self._trails and (trail := self._trails.get(work.session)):
                    trail.round("answer", seconds=task.seconds)
        return answers

    def _take(self, ask: Ask) -> None:
        agreed = self._follow(ask)
        if agreed is not None:
            self._roll_back(ask.session, agreed)

    def _follow(self, ask: Ask) -> int | None:
        """Makes a session's text what a question says, and a task of it.

        Returns how many leading tokens stand where they stood; None where the session is not held, and where
        the question is an earlier one, come late: nobody waits for its answer.
        """
        held = self._held.get(ask.session)
        length = ask.base + len(ask.tokens)
        if held is not None and length < held.committed:
            return None
        try:
            if held is None or held.epoch != ask.epoch:
                raise Behind
            agreed = follow(held.text, ask.base, ask.tokens)
        except Behind:
            self._outbox.append(Forgotten(ask.session, ask.epoch))
            return None
        held.committed = length
        self._tasks[ask.session] = Task(ask, length)
        return agreed

    def _roll_back(self, session: str, agreed: int) -> None:
        """What was cached beyond the agreed text goes; the last token is computed for its outcome."""
        known = min(self._engine.length(session), agreed, len(self._held[session].text) - 1)
        self._engine.truncate(session, known)

    def _opened(self, begun: Open) -> None:
        self._engine.open(begun.session, begun.sampling, begun.expected, begun.salt)

    def _drop(self, session: str) -> None:
        self._tasks.pop(session, None)
        self._held.pop(session, None)
        self._trails.end(session)
        self._engine.close(session)

    def _new(self, session: str) -> list[int]:
        """What the cache lacks of a session's text."""
        return self._held[session].text[self._engine.length(session) :]

    def _plan(self, tasks: list[Task[Ask]]) -> list[Work]:
        texts = {task.ask.session: self._held[task.ask.session].text for task in tasks}
        # The latest first: those who came before them are nearer to their ends.
        silent = [session for session in reversed(self._held) if session not in texts]
        step = self._schedule.plan(texts, silent, lambda session: self._work(self._tasks[session]))
        for session, why in step.refused.items():
            self._outbox.append(Failed(session, self._held[session].epoch, why))
            self._drop(session)
        return step.works

    def _work(self, task: Task[Ask]) -> Work:
        raise NotImplementedError

    def _answer(self, task: Task[Ask], work: Work, outcome: Outcome) -> Message | None:
        raise NotImplementedError
