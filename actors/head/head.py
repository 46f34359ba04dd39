"""The head as a process apart: judges what drafters have seen, all sessions in hand in one call."""

import logging
import time
from collections.abc import Sequence

import torch

from ringroad.actors.figures import RoleFigures
from ringroad.actors.messages import Close, Hello, Message, Ruling, Seen, Welcome
from ringroad.kernels.head import Head, together, unpack

log = logging.getLogger(__name__)


class HeadRole:
    """A plain role: messages in through `receive`, answers out of `step`. It holds nothing of a session."""

    def __init__(self, head: Head, name: str) -> None:
        """`name`: what the head is called where roles are listed."""
        self._head = head
        self._name = name
        self._router = ""
        self._seen: list[Seen] = []
        self._rulings = 0
        self._figures = RoleFigures()

    @property
    def busy(self) -> bool:
        """Whether `step` has anything to do."""
        return bool(self._seen)

    @property
    def asked(self) -> bool:
        """Whether somebody waits for that."""
        return self.busy

    def hello(self) -> Hello:
        """Who this is, and how much it has judged."""
        return Hello(role="head", model=self._name, rulings=self._rulings, figures=self._figures)

    def receive(self, message: Message) -> None:
        """Takes in one message from the router."""
        match message:
            case Seen():
                self._seen.append(message)
            case Close(session=session):
                self._seen = [seen for seen in self._seen if seen.session != session]
            case Welcome(router=router) if router != self._router:
                self._router = router
                self._seen.clear()

    def step(self) -> list[Message]:
        """A ruling on everything in hand."""
        answers = self._judge(self._seen)
        self._seen.clear()
        return answers

    def rescue(self) -> list[Message]:
        """After a step that raised: everything by itself, so that only what is at fault gets no ruling."""
        answers: list[Message] = []
        for seen in self._seen:
            try:
                answers += self._judge([seen])
            except Exception:  # any: the session goes on without a head
                log.exception("something seen could not be judged")
                self._figures.failed += 1
                answers.append(Ruling(seen.session, seen.epoch, seen.length, seen.first, []))
        self._seen.clear()
        return answers

    @torch.inference_mode()
    def _judge(self, seen: Sequence[Seen]) -> list[Message]:
        if not seen:
            return []
        began = time.perf_counter()
        sights = [unpack(each.sight, each.tokens) for each in seen]
        doubts = iter(self._head.doubts(together(sights)).tolist())
        rows = sum(len(each.tokens) for each in seen)
        self._rulings += rows
        self._figures.rows += rows
        self._figures.steps.observe(time.perf_counter() - began)
        return [
            Ruling(each.session, each.epoch, each.length, each.first, [next(doubts) for _ in each.tokens])
            for each in seen
        ]
