"""Both clients against gateways whose streams break: anywhere, with every status, at several targets."""

import asyncio
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest

from ringroad.cluster.client import AsyncClient, CallFailed, Client, Delta, Event, Final, Patience
from ringroad.v1.inference_pb2 import GenerateRequest, GenerateResponse
from tests.cluster.fakes import NOBODY, FakeGateway, refuses, says
from tests.cluster.texts import FULL, IDS, stream

SECONDS = 20.0  # nothing here takes that long
Code = grpc.StatusCode
Read = Callable[..., list[Event]]


def read(targets: Sequence[str], **options: Any) -> list[Event]:
    with Client(targets) as client:
        return list(client.generate("hi", **options))


def read_async(targets: Sequence[str], **options: Any) -> list[Event]:
    async def work() -> list[Event]:
        async with AsyncClient(targets) as client:
            return [event async for event in client.generate("hi", **options)]

    return asyncio.run(asyncio.wait_for(work(), SECONDS))


BOTH = pytest.mark.parametrize("read", [read, read_async], ids=["sync", "async"])


@dataclass
class Cloud:
    """Gateways of one memory that serve the text of texts.py; their streams break after so many pieces, one
    after the other, and then no more."""

    breaks: list[tuple[int, Code]] = field(default_factory=list)
    forgets: bool = False
    requests: list[GenerateRequest] = field(default_factory=list)
    _known: set[str] = field(default_factory=set)

    def __call__(self, request: GenerateRequest, context: Any) -> Iterator[GenerateResponse]:
        self.requests.append(request)
        resuming = request.HasField("resume")
        if resuming and (self.forgets or request.request_id not in self._known):
            yield from refuses(Code.NOT_FOUND, "nobody knows it")(request, context)
        self._known.add(request.request_id)
        pieces = stream(request.resume.next_offset, 1 + resuming, tail_apart=len(self.breaks) % 2 == 0)
        after, code = self.breaks.pop(0) if self.breaks else (len(pieces), None)
        for piece in pieces[:after]:
            yield (
                GenerateResponse(delta=piece) if isinstance(piece, Delta) else GenerateResponse(final=piece)
            )
        if code is not None and code is not Code.OK:  # without details, as a connection that breaks
            context.abort(code, "broken")


@pytest.fixture
def cloud() -> Cloud:
    return Cloud()


@pytest.fixture
def targets(cloud: Cloud) -> Iterator[list[str]]:
    with ExitStack() as stack:
        yield [stack.enter_context(FakeGateway(cloud)).target for _ in range(2)]


def assert_whole(events: list[Event]) -> None:
    *deltas, final = events
    assert isinstance(final, Final)
    assert [id for delta in deltas if isinstance(delta, Delta) for id in delta.token_ids] == IDS
    assert "".join(delta.text for delta in deltas if isinstance(delta, Delta)) == FULL


@BOTH
@pytest.mark.parametrize("code", [Code.UNAVAILABLE, Code.CANCELLED, Code.INTERNAL, Code.UNKNOWN, Code.OK])
@pytest.mark.parametrize("after", range(len(IDS) + 1))
def test_a_stream_that_breaks_anywhere_goes_on_at_the_next_gateway(
    read: Read, cloud: Cloud, targets: list[str], after: int, code: Code
) -> None:
    cloud.breaks = [(after, code)]
    assert_whole(read(targets, request_id="mine"))
    first, second = cloud.requests
    if after == 0:
        assert first == second
    else:
        assert second.resume.next_offset == after - 1
        assert second.request_id == "mine"


@BOTH
def test_it_may_break_again_and_again(read: Read, cloud: Cloud, targets: list[str]) -> None:
    cloud.breaks = [(n % 3, Code.UNAVAILABLE) for n in range(12)]
    assert_whole(read(targets))


@BOTH
def test_what_nobody_knows_any_more_is_generated_anew_under_another_name(
    read: Read, cloud: Cloud, targets: list[str]
) -> None:
    cloud.breaks, cloud.forgets = [(3, Code.UNAVAILABLE)], True
    assert_whole(read(targets, temperature=1.0))
    first, resumed, anew = cloud.requests
    assert first.request_id == resumed.request_id != anew.request_id
    assert first.sampling == anew.sampling
    assert anew.sampling.HasField("seed")


@BOTH
def test_a_gateway_that_is_not_there_is_passed_over(read: Read, targets: list[str]) -> None:
    for order in ([NOBODY, *targets], [*targets, NOBODY], [",".join([NOBODY, *targets])]):
        assert_whole(read(order[0] if len(order) == 1 else order))


@BOTH
def test_a_gateway_that_ends_within_a_stream_costs_nothing(
    read: Read, cloud: Cloud, targets: list[str]
) -> None:
    begun = threading.Event()
    with FakeGateway() as dying:

        def script(request: GenerateRequest, context: Any) -> Iterator[GenerateResponse]:
            for piece in stream(0, 1, tail_apart=True)[:3]:
                assert isinstance(piece, Delta)
                yield GenerateResponse(delta=piece)
            begun.set()
            threading.Thread(target=dying.__exit__).start()
            context.add_callback(ended.set)
            ended.wait(SECONDS)

        ended = threading.Event()
        cloud._known.add("mine")
        dying.script = script
        assert_whole(read([dying.target, targets[0]], request_id="mine"))
    assert begun.is_set()
    assert cloud.requests[0].resume.next_offset == 2


STOPPABLE = """
import threading
from tests.cluster.fakes import FakeGateway
with FakeGateway() as gateway:
    gateway.script = gateway.hold
    print(gateway.target, flush=True)
    threading.Event().wait()
"""


@BOTH
def test_a_gateway_that_is_stopped_is_noticed(read: Read, cloud: Cloud, targets: list[str]) -> None:
    root = Path(__file__).parent.parent.parent
    with subprocess.Popen([sys.executable, "-c", STOPPABLE], cwd=root, stdout=subprocess.PIPE) as stopped:
        assert stopped.stdout is not None
        target = stopped.stdout.readline().decode().strip()
        timer = threading.Timer(0.3, stopped.send_signal, [signal.SIGSTOP])
        timer.start()
        try:
            with pytest.raises(CallFailed, match="another one"):  # of that one's text
                read([target, *targets])
        finally:
            timer.cancel()
            stopped.kill()
    assert cloud.requests


@BOTH
def test_a_busy_gateway_is_asked_again_only_where_the_caller_waits(
    read: Read, cloud: Cloud, targets: list[str]
) -> None:
    full = FakeGateway(refuses(Code.RESOURCE_EXHAUSTED, "full", retry_seconds=0.05))
    with full:
        with pytest.raises(CallFailed, match=r"^full$") as failed:
            read([full.target, *targets])
        assert failed.value.retry_seconds == pytest.approx(0.05)
        assert_whole(read([full.target, *targets], wait_when_busy=True))


@BOTH
@pytest.mark.parametrize("code", [Code.INVALID_ARGUMENT, Code.INTERNAL, Code.ALREADY_EXISTS, Code.ABORTED])
def test_what_a_gateway_says_of_the_request_is_final(
    read: Read, cloud: Cloud, targets: list[str], code: Code
) -> None:
    with FakeGateway(refuses(code, "no")) as gateway:
        with pytest.raises(CallFailed, match=r"^no$") as failed:
            read([gateway.target, *targets])
        assert failed.value.code is code
        assert gateway.aborted == []
    assert cloud.requests == []


@BOTH
def test_a_final_that_tells_of_an_error_is_no_broken_stream(read: Read, cloud: Cloud) -> None:
    cloud.breaks = [(len(IDS) + 2, Code.UNAVAILABLE)]  # after the final
    with FakeGateway(cloud) as gateway:
        assert_whole(read([gateway.target]))
    assert len(cloud.requests) == 1


def test_a_request_that_is_left_is_aborted_by_name() -> None:
    with FakeGateway() as gateway, Client(gateway.target) as client:
        gateway.script = gateway.hold
        events = client.generate("hi", request_id="mine")
        next(events)
        events.close()
        assert gateway.heard_abort.wait(SECONDS)
        assert gateway.aborted == ["mine"]


def test_closing_the_client_aborts_what_runs() -> None:
    with FakeGateway() as gateway:
        gateway.script = gateway.hold
        with Client(gateway.target) as client:
            events = client.generate("hi", request_id="mine")
            next(events)
        assert gateway.aborted == ["mine"]
        with pytest.raises(CallFailed):
            next(events)
        assert gateway.aborted == ["mine"]


def test_async_a_request_that_is_left_is_aborted_by_name() -> None:
    async def work(gateway: FakeGateway) -> None:
        async with AsyncClient(gateway.target) as client:
            async with aclosing(client.generate("hi", request_id="left")) as events:
                await anext(events)
            events = client.generate("hi", request_id="closed")
            await anext(events)
        assert sorted(gateway.aborted) == ["closed", "left"]
        with pytest.raises(asyncio.CancelledError):  # gRPC's word for what closing its channel ends
            await anext(events)

    with FakeGateway() as gateway:
        gateway.script = gateway.hold
        asyncio.run(asyncio.wait_for(work(gateway), SECONDS))


def test_a_text_that_ended_is_not_aborted(cloud: Cloud) -> None:
    with FakeGateway(cloud) as gateway:
        read([gateway.target])
        assert gateway.aborted == []


@BOTH
def test_a_deadline_holds_over_all_tries(read: Read, cloud: Cloud, targets: list[str]) -> None:
    cloud.breaks = [(1, Code.UNAVAILABLE)] * 10_000
    with pytest.raises(CallFailed):
        read(targets, timeout=0.5, request_id="mine")


def test_nobody_is_waited_for_as_long_as_one_is_patient() -> None:
    with Client([NOBODY, NOBODY], Patience(begin=0.1)) as client, pytest.raises(CallFailed) as failed:
        list(client.generate("hi"))
    assert failed.value.code is Code.UNAVAILABLE


def test_streams_that_end_without_a_final_are_failures() -> None:
    with FakeGateway(says()) as gateway:
        with (
            Client(gateway.target, Patience(begin=0.1)) as client,
            pytest.raises(CallFailed, match="a final"),
        ):
            list(client.generate("hi"))

        async def work() -> None:
            async with AsyncClient(gateway.target, Patience(begin=0.1)) as client:
                with pytest.raises(CallFailed, match="a final"):
                    [event async for event in client.generate("hi")]

        asyncio.run(asyncio.wait_for(work(), SECONDS))
        assert len(gateway.requests) < 30  # with pauses between them


def test_other_calls_pass_over_who_is_not_there(targets: list[str]) -> None:
    with Client([NOBODY, *targets]) as client:
        assert client.load().capacity == 32
        assert client.ready()
    with pytest.raises(ValueError, match="no target"):
        Client(" , ")
