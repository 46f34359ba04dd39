"""The client against a gateway that plays its part."""

import subprocess
import sys
from collections.abc import Iterator

import grpc
import pytest

from ringroad.cluster.client import CallFailed, Client, user
from ringroad.cluster.wire import generate_request, tokenize_request
from ringroad.v1 import inference_pb2
from tests.cluster.fakes import HELLO, NOBODY, STOP, FakeGateway, plain, refuses

SECONDS = 20.0  # nothing here takes that long


@pytest.fixture
def gateway() -> Iterator[FakeGateway]:
    with FakeGateway() as gateway:
        yield gateway


@pytest.fixture
def client(gateway: FakeGateway) -> Iterator[Client]:
    with Client(gateway.target) as client:
        yield client


def test_events_come_in_order_and_the_final_last(client: Client, gateway: FakeGateway) -> None:
    events = list(client.generate("hi", seed=7))
    assert events == [HELLO[0].delta, HELLO[1].delta, STOP.final]
    assert [plain(request) for request in gateway.requests] == [generate_request("hi", seed=7)]


def test_leaving_the_loop_early_cancels_on_the_server(client: Client, gateway: FakeGateway) -> None:
    gateway.script = gateway.hold
    events = client.generate("hi")
    assert next(events) == HELLO[0].delta
    assert not gateway.ended.is_set()
    events.close()
    assert gateway.ended.wait(SECONDS)


@pytest.mark.parametrize("raised", [KeyboardInterrupt, ValueError])
def test_an_exception_in_the_loop_cancels_on_the_server(
    client: Client, gateway: FakeGateway, raised: type[BaseException]
) -> None:
    gateway.script = gateway.hold
    events = client.generate("hi")
    next(events)
    with pytest.raises(raised):
        events.throw(raised())
    assert gateway.ended.wait(SECONDS)


def test_closing_the_client_cancels_what_runs(gateway: FakeGateway) -> None:
    gateway.script = gateway.hold
    with Client(gateway.target) as client:
        events = client.generate("hi")
        next(events)
    assert gateway.ended.wait(SECONDS)
    with pytest.raises(CallFailed):
        next(events)


def test_a_generator_never_started_asks_nothing(client: Client, gateway: FakeGateway) -> None:
    client.generate("hi").close()
    assert not gateway.requests


def test_a_refusal_names_the_fields(client: Client, gateway: FakeGateway) -> None:
    gateway.script = refuses(grpc.StatusCode.INVALID_ARGUMENT, "no", sampling__top_p="must be at most 1")
    with pytest.raises(CallFailed) as failed:
        list(client.generate("hi"))
    assert failed.value.code is grpc.StatusCode.INVALID_ARGUMENT
    assert failed.value.fields == {"sampling.top_p": "must be at most 1"}
    assert str(failed.value) == "sampling.top_p: must be at most 1"


def test_a_status_without_details_keeps_its_message(client: Client, gateway: FakeGateway) -> None:
    gateway.script = refuses(grpc.StatusCode.RESOURCE_EXHAUSTED, "full")
    with pytest.raises(CallFailed, match=r"^full$") as failed:
        list(client.generate("hi"))
    assert failed.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert failed.value.fields == {}


def test_the_timeout_is_the_calls_deadline(client: Client, gateway: FakeGateway) -> None:
    list(client.generate("hi", timeout=500))
    assert gateway.deadlines[0] == pytest.approx(500, abs=SECONDS)


def test_past_its_deadline_a_call_fails(client: Client, gateway: FakeGateway) -> None:
    gateway.script = gateway.hold
    with pytest.raises(CallFailed) as failed:
        list(client.generate("hi", timeout=0.2))
    assert failed.value.code is grpc.StatusCode.DEADLINE_EXCEEDED


def test_nobody_there_is_unavailable() -> None:
    with Client(NOBODY) as client:
        assert not client.ready()
        with pytest.raises(CallFailed) as failed:
            client.load()
    assert failed.value.code is grpc.StatusCode.UNAVAILABLE


def test_the_other_calls(client: Client, gateway: FakeGateway) -> None:
    assert client.tokenize("hi", "pair").token_ids == [5, 6]
    assert client.tokenize(user("hi")).context_length == 64
    assert gateway.seen == [tokenize_request("hi", "pair"), inference_pb2.TokenizeRequest(chat=user("hi"))]
    assert client.server_info().roles[0].model == "big"
    assert client.load().capacity == 32
    assert [pair.name for pair in client.models()] == ["pair"]
    assert client.abort("known")
    assert not client.abort("unknown")
    assert client.ready()


def test_a_gateway_that_cannot_serve_is_not_ready() -> None:
    with FakeGateway(serving=False) as gateway, Client(gateway.target) as client:
        assert not client.ready()


def test_the_client_needs_neither_torch_nor_ray() -> None:
    code = "import sys, ringroad.cluster.client as _; print(*{'ray', 'torch', 'numpy'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout == b"\n"
