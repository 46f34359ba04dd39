"""More than there is room for: bounded lines, early refusals, and readers that do not read."""

import asyncio
from functools import partial
from typing import Any

import grpc
import pytest

from ringroad.actors.errors import TooBusy
from ringroad.actors.gateway.fair import Flow
from ringroad.actors.gateway.places import Places
from ringroad.actors.messages import Cancel, Finish
from ringroad.v1.inference_pb2 import GenerateRequest

ANY = Flow()


def never(error: Exception) -> None:
    raise error


class Clock:
    """In place of the event loop's."""

    def __init__(self) -> None:
        self.now = 0.0

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("ringroad.actors.gateway.places.asyncio.get_running_loop", lambda: clock)
    return clock


def test_the_wait_is_as_long_as_places_were_held(clock: Clock) -> None:
    places, placed = Places(2, 9), []
    for who in "abcd":
        places.check(ANY, 0.0 if who in "ab" else None)  # who finds a place has time enough
        places.enter(who, ANY, 1, partial(placed.append, who), never)
    assert (placed, places.held, places.waiting) == (["a", "b"], 2, 2)
    places.check(ANY, 0.001)  # nothing was measured yet
    clock.now = 8.0
    places.leave("a")  # held for 8 seconds
    places.leave("c")  # for none: each moves the mean by a tenth
    assert (placed, places.held, places.waiting) == (["a", "b", "c", "d"], 2, 0)
    places.check(ANY, 3.7)  # one in line would wait for half of 7.2 seconds
    with pytest.raises(TooBusy, match="deadline"):
        places.check(ANY, 3.5)
    places.enter("e", ANY, 1, lambda: None, never)
    with pytest.raises(TooBusy, match="deadline") as busy:
        places.check(ANY, 7.1)
    assert busy.value.retry_seconds == pytest.approx(7.2)
    places.check(ANY, 7.3)
    places.check(ANY, None)


def test_leaving_twice_gives_nothing_twice(clock: Clock) -> None:
    places = Places(1, 1)
    for who in "ab":
        places.enter(who, ANY, 1, lambda: None, never)
    with pytest.raises(TooBusy, match="full"):
        places.check(ANY, None)
    for _ in range(2):
        places.leave("b")
        places.leave("a")
    assert (places.held, places.waiting) == (0, 0)


async def test_a_deadline_that_passes_in_line_leaves_it_at_once(serving: Any, helpers: Any) -> None:
    async with serving(max_sessions=1) as served:
        first = served.inference.Generate(GenerateRequest(prompt="hi"))
        submit = await served.router.submitted()
        for resumable in (False, True):
            late = served.inference.Generate(GenerateRequest(prompt="hi", resumable=resumable), timeout=0.3)
            await served.until_load(1, 1)
            code, _ = await helpers.failure(late)
            assert code is grpc.StatusCode.DEADLINE_EXCEEDED
            await served.until_load(1, 0)
        served.router.end(submit, 0, Finish.LENGTH, b"x")
        await helpers.read(first)
        assert served.router.quiet


async def test_a_deadline_that_cannot_be_met_is_refused_at_once(serving: Any, helpers: Any) -> None:
    async with serving(max_sessions=1) as served:
        places = served.gateway._sessions._places
        first = served.inference.Generate(GenerateRequest(prompt="hi"))
        await served.router.submitted()
        places._held_seconds = 100.0
        code, retry = await helpers.failure(
            served.inference.Generate(GenerateRequest(prompt="hi"), timeout=50)
        )
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert retry.retry_delay.seconds == 60
        patient = served.inference.Generate(GenerateRequest(prompt="hi"), timeout=150)
        await served.until_load(1, 1)
        for call in (patient, first):
            call.cancel()


async def test_streams_are_bounded(serving: Any, helpers: Any) -> None:
    async with serving(max_streams=2) as served:
        asked = GenerateRequest(prompt="hi", request_id="mine")
        calls = [served.inference.Generate(asked) for _ in range(2)]
        for call in calls:
            await call.initial_metadata()
        code, retry = await helpers.failure(served.inference.Generate(asked))
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert retry is not None
        submit = await served.router.submitted()
        for call in calls:
            call.cancel()
        assert await served.router.cancelled() == Cancel(submit.session)
        await served.until_load(0, 0)
        assert await served.complete() == "ok"


async def test_a_reader_that_does_not_read_is_waited_for_by_nobody(serving: Any, helpers: Any) -> None:
    """Its stream is paused, its text piles up as tokens; its place is free as soon as the text has ended."""
    chunks, each = 400, 1000
    async with serving(max_sessions=2) as served:
        slow = served.inference.Generate(GenerateRequest(prompt="hi"))
        submit = await served.router.submitted()
        for n in range(chunks):
            served.router.tokens(submit, n * each, b"x" * each)
            if n % 100 == 50:
                assert await served.complete() == "ok"
        served.router.end(submit, chunks * each, Finish.LENGTH)
        await served.until_load(0, 0)
        text, deltas = 0, 0
        async with asyncio.timeout(helpers.SECONDS):
            while (response := await slow.read()).HasField("delta"):
                assert response.delta.offset == text
                text += len(response.delta.text)
                assert len(response.delta.token_ids) <= 4096  # a message has a bounded size
                deltas += 1
        assert text == chunks * each
        assert deltas < chunks / 2  # what piled up came together
