"""A request's spans: one tree over all roles, below the client's own; none where nobody collects."""

import asyncio
from collections.abc import Iterator
from typing import Any

import aiohttp
import grpc.aio
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from ringroad.actors import tracing
from ringroad.actors.gateway.config import GatewayConfig, Pair
from ringroad.actors.gateway.server import Gateway
from ringroad.actors.messages import Finish, Hello, Message, Roster, ToGateway, ToRouter
from ringroad.actors.role import Role
from ringroad.actors.router.config import RouterConfig
from ringroad.actors.router.router import Router
from ringroad.v1 import inference_pb2, inference_pb2_grpc
from tests.engine.tiny import SHAPE
from tests.roles.pair import drafter, verifier

GATE = b"gate"
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
CLIENT = f"00-{TRACE}-{SPAN}-01"


class Near:
    """A link to a router in this process, whose roles work whenever they are asked."""

    def __init__(self, *roles: Role) -> None:
        self._router = Router(RouterConfig(), self._deliver)
        self._roles = {role.hello().role.encode(): role for role in roles}
        self._says: asyncio.Queue[ToGateway] = asyncio.Queue()
        self.sent: list[Message] = []
        for address, role in self._roles.items():
            self._router.receive(address, role.hello(), 0.0)
        self._router.receive(GATE, Hello("gateway"), 0.0)

    async def send(self, message: ToRouter) -> None:
        self._router.receive(GATE, message, 0.0)
        while busy := [(address, role) for address, role in self._roles.items() if role.busy]:
            for address, role in busy:
                self._router.receive_all(address, role.step(), 0.0)

    async def receive(self) -> ToGateway:
        return await self._says.get()

    def _deliver(self, address: bytes, message: Message) -> None:
        self.sent.append(message)
        if address == GATE:
            assert isinstance(message, ToGateway)
            self._says.put_nowait(message)
        elif address in self._roles:
            self._roles[address].receive(message)


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    """Collects the spans of this process."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracing.collect(provider.get_tracer("ringroad"))
    yield exporter
    tracing.collect(None)


def tree(exporter: InMemorySpanExporter) -> set[tuple[str, str]]:
    """Every span's name and its parent's; the client's is called so."""
    spans = exporter.get_finished_spans()
    names = {span.context.span_id: span.name for span in spans} | {int(SPAN, 16): "client"}
    return {(names[span.parent.span_id] if span.parent else "", span.name) for span in spans}


def named(exporter: InMemorySpanExporter, name: str) -> ReadableSpan:
    (found,) = [span for span in exporter.get_finished_spans() if span.name == f"ringroad.{name}"]
    return found


async def generated(helpers: Any, near: Near, **metadata: str) -> None:
    pair = Pair(name="toy", large="l", small="s", context_length=64, vocabulary=SHAPE.vocabulary)
    config = GatewayConfig(port=0, retry_seconds=0.01)
    gateway = Gateway(config, pair, helpers.toy_tokenizer(), near, helpers.POLICIES, "1")
    await gateway.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{gateway.port}") as channel:
            stub: Any = inference_pb2_grpc.InferenceServiceStub(channel)
            request = inference_pb2.GenerateRequest(
                token_ids={"ids": range(1, 9)}, max_tokens=12, mode="MODE_SPECULATIVE", ignore_eos=True
            )
            call = stub.Generate(request, metadata=tuple(metadata.items()), wait_for_ready=True)
            async with asyncio.timeout(60):
                assert [response async for response in call][-1].HasField("final")
    finally:
        await gateway.stop(0)


async def test_one_tree_over_all_roles_below_the_clients_span(
    spans: InMemorySpanExporter, helpers: Any
) -> None:
    await generated(helpers, Near(verifier("fp32"), drafter("fp32")), traceparent=CLIENT)
    assert tree(spans) == {
        ("client", "ringroad.request"),
        ("ringroad.request", "ringroad.queue"),
        ("ringroad.request", "ringroad.session"),
        ("ringroad.session", "ringroad.prefill"),
        ("ringroad.session", "ringroad.decode"),
        ("ringroad.session", "ringroad.drafter"),
        ("ringroad.session", "ringroad.verifier"),
        ("ringroad.drafter", "ringroad.prefill"),
        ("ringroad.drafter", "ringroad.decode"),
        ("ringroad.verifier", "ringroad.prefill"),
        ("ringroad.verifier", "ringroad.decode"),
    }
    assert {f"{span.context.trace_id:032x}" for span in spans.get_finished_spans()} == {TRACE}
    request = dict(named(spans, "request").attributes or {})
    assert request["ringroad.mode"] == "speculative"
    assert (request["ringroad.finish"], request["ringroad.tokens"]) == ("length", 12)
    session = dict(named(spans, "session").attributes or {})
    rounds, consults = session["ringroad.rounds"], session["ringroad.consults"]
    assert isinstance(rounds, int)
    assert isinstance(consults, int)
    assert 0 < consults < rounds < 2 * 12


async def test_without_a_clients_span_the_request_is_the_first(
    spans: InMemorySpanExporter, helpers: Any
) -> None:
    await generated(helpers, Near(verifier("fp32"), drafter("fp32")))
    assert ("", "ringroad.request") in tree(spans)


async def test_a_client_that_is_not_sampled_costs_no_role_a_span(
    spans: InMemorySpanExporter, helpers: Any
) -> None:
    near = Near(verifier("fp32"), drafter("fp32"))
    await generated(helpers, near, traceparent=f"00-{TRACE}-{SPAN}-00")
    assert spans.get_finished_spans() == ()
    assert {message.trace for message in near.sent if hasattr(message, "trace")} == {""}


async def test_nothing_is_carried_where_nobody_collects(helpers: Any) -> None:
    near = Near(verifier("fp32"), drafter("fp32"))
    await generated(helpers, near, traceparent=CLIENT)
    assert {message.trace for message in near.sent if hasattr(message, "trace")} == {""}


@pytest.mark.parametrize("parent", ["nonsense", "00-" + "0" * 32 + "-" + "0" * 16 + "-01", "x" * 5000])
async def test_a_damaged_traceparent_is_as_none(
    parent: str, spans: InMemorySpanExporter, helpers: Any
) -> None:
    await generated(helpers, Near(verifier("fp32"), drafter("fp32")), traceparent=parent)
    assert ("", "ringroad.request") in tree(spans)


async def test_a_lost_router_is_told_on_the_requests_span(
    spans: InMemorySpanExporter, serving: Any, helpers: Any
) -> None:
    async with serving() as served:
        call = served.inference.Generate(inference_pb2.GenerateRequest(prompt="secret"))
        submit = await served.router.submitted()
        served.router.break_down(helpers.LinkLost())
        served.router.say(Roster([helpers.VERIFIER]))
        again = await served.router.submitted()
        served.router.end(again, 0, Finish.STOP, [helpers.END])
        await helpers.read(call)
        assert submit.trace == again.trace
    request = named(spans, "request")
    assert [(event.name, dict(event.attributes or {})) for event in request.events] == [
        ("failover", {"ringroad.role": "router"})
    ]
    assert "secret" not in str([span.to_json() for span in spans.get_finished_spans()])


async def test_a_refused_request_says_its_error_by_name(
    spans: InMemorySpanExporter, serving: Any, helpers: Any
) -> None:
    async with serving() as served:
        await helpers.failure(served.inference.Generate(inference_pb2.GenerateRequest(prompt="", model="x")))
    assert named(spans, "request").status.description == "InvalidField"


async def test_an_http_client_is_traced_and_its_refusals_counted(
    spans: InMemorySpanExporter, serving: Any
) -> None:
    async with serving(http_port=0) as served, aiohttp.ClientSession() as session:
        url = f"http://127.0.0.1:{served.gateway.http_port}/v1/completions"
        for body in ({"model": "toy", "prompt": "hi", "max_tokens": 0}, {"model": "x", "prompt": "hi"}):
            async with session.post(url, json=body, headers={"traceparent": CLIENT}) as response:
                assert response.status in (400, 404)
        assert served.gateway._sessions.measures.refusals == {"invalid_field": 2}
    assert tree(spans) == {("client", "ringroad.request")}
