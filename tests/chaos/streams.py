"""The load: texts whose words are known, asked for again and again by many at once."""

import asyncio
import time
from contextvars import ContextVar
from typing import Any
from unittest import mock

from ringroad.cluster import client_async
from ringroad.cluster.answer import Answer
from ringroad.cluster.client import AsyncClient, CallFailed, Patience, user
from ringroad.cluster.reading import Reading
from tests.chaos.pauses import Heard

PROMPTS = (
    "Why is the sky blue?",
    "Name three rivers of Europe.",
    "Write a line about the sea.",
    "What does a compiler do?",
    "Give me a recipe with two eggs.",
    "How far away is the moon?",
    "Describe a fox.",
    "What is a prime number?",
)
SECONDS = 120.0  # a stream that takes longer counts as lost
_hearing: ContextVar[Heard] = ContextVar("hearing")
_WORDS = 24  # of the difference that is shown


def request(number: int) -> dict[str, Any]:
    """One of the texts: the modes in turn, greedy and drawn, 16 to 48 tokens."""
    options: dict[str, Any] = {"max_tokens": 16 + 7 * number % 33, "seed": number}
    options["temperature"] = float(number // 3 % 2)
    match number % 3:
        case 0:
            options["mode"] = "large"
        case 1:
            options |= {"mode": "speculative", "draft_tokens": 3}
        case _:
            options |= {"mode": "routed", "policy": "margin", "threshold": 0.6}
    return options


def prompt(number: int) -> str:
    """Of the same text."""
    return PROMPTS[number % len(PROMPTS)]


class _Watched(Reading):
    """Tells when it goes on after a failure."""

    def fail(self, failure: CallFailed, now: float, share: float) -> float:
        _hearing.get().failures.append(now)
        return super().fail(failure, now, share)


class Load:
    """Streams without end over so many different texts, and what became of them."""

    def __init__(self, targets: list[str], texts: int) -> None:
        self.texts = texts
        self.expected: dict[int, list[int]] = {}
        self.begun = 0
        self.done = 0
        self.resumed = 0
        self.degraded_routed = 0  # of which more differ legitimately (docs/decisions/0021)
        self.differ_routed = 0
        self.wrong: list[str] = []
        self.failed: list[str] = []
        self.heard: list[Heard] = []  # those of the last minutes; the caller forgets
        self._targets = targets

    async def learn(self, at_once: int) -> None:
        """What the texts are without faults."""
        numbers = iter(range(self.texts))

        async def one_by_one(client: AsyncClient) -> None:
            for number in numbers:
                answer = await self._read(client, number, Heard(number))
                assert answer.whole, answer.error
                self.expected[number] = answer.token_ids

        async with AsyncClient(self._targets) as client:
            await asyncio.gather(*(one_by_one(client) for _ in range(at_once)))

    async def run(self, at_once: int, stop: asyncio.Event) -> None:
        """So many streams at once until `stop`; those that run then come to their end."""

        async def on_and_on(client: AsyncClient) -> None:
            while not stop.is_set():
                await self._one(client, self.begun % self.texts)

        # Whoever begins while every gateway is gone waits for one, too.
        async with AsyncClient(self._targets, Patience(begin=60.0)) as client:
            with mock.patch.object(client_async, "Reading", _Watched):
                await asyncio.gather(*(on_and_on(client) for _ in range(at_once)))

    async def _one(self, client: AsyncClient, number: int) -> None:
        heard = Heard(number)
        self.begun += 1
        self.heard.append(heard)
        try:
            answer = await self._read(client, number, heard)
        except CallFailed as error:
            self.failed.append(f"text {number}: {error!r}"[:300])
            return
        finally:
            heard.over = True
            self.done += 1
            self.resumed += bool(heard.failures)
        if not answer.whole:
            self.failed.append(f"text {number} after {len(answer.token_ids)}: {answer.error}"[:300])
        elif answer.token_ids != self.expected[number]:
            if number % 3 == 2 and answer.usage.degraded:
                self.differ_routed += 1
            else:
                self.wrong.append(
                    f"text {number}: {answer.token_ids[:_WORDS]} for {self.expected[number][:_WORDS]}"
                )
        self.degraded_routed += number % 3 == 2 and bool(answer.usage.degraded)

    async def _read(self, client: AsyncClient, number: int, heard: Heard) -> Answer:
        _hearing.set(heard)
        events = client.generate(user(prompt(number)), timeout=SECONDS, **request(number))
        answer = await Answer.gather(events, lambda _: heard.times.append(time.monotonic()))
        heard.degraded = list(answer.usage.degraded)
        return answer
