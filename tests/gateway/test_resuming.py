"""Streams that are read again: by name, from any token, here or at another gateway."""

import asyncio
from contextlib import AsyncExitStack
from itertools import pairwise
from typing import Any

import grpc
import grpc.aio
import pytest

from ringroad.actors.gateway.session import Session
from ringroad.actors.gateway.stream import Answer
from ringroad.actors.ledger.ledger import Part, Record
from ringroad.actors.messages import Cancel, Chunk, Counts, Finish, Mode, Roster, Sampling, Speaker, Submit
from ringroad.v1 import control_pb2
from ringroad.v1.inference_pb2 import (
    FINISH_REASON_CANCELLED,
    FINISH_REASON_LENGTH,
    FINISH_REASON_STOP,
    Delta,
    GenerateRequest,
)
from tests.gateway.ledgers import MemoryLedger, Store

TEXT = "né 🙂 日本, ab ST and so on".encode()


def asked(**more: Any) -> GenerateRequest:
    return GenerateRequest(**({"prompt": "hi", "request_id": "mine", "resumable": True} | more))


def rest(offset: int, **more: Any) -> GenerateRequest:
    return GenerateRequest(**({"request_id": "mine", "resume": {"next_offset": offset}} | more))


async def text_from(helpers: Any, call: Any, offset: int = 0) -> tuple[str, int, Any]:
    """What a stream says, where it ends, and its final."""
    text = ""
    async with asyncio.timeout(helpers.SECONDS):
        while (response := await call.read()).HasField("delta"):
            assert response.delta.offset == offset
            text += response.delta.text
            offset += len(response.delta.token_ids)
        assert response.HasField("final")
        assert await call.read() is grpc.aio.EOF
    return text, offset, response.final


async def received(call: Any, count: int) -> str:
    """The text of exactly `count` tokens, read from a stream."""
    text = ""
    while count > 0:
        delta = (await call.read()).delta
        text += delta.text
        count -= len(delta.token_ids)
    assert count == 0
    return text


class Cluster:
    """Two gateways with routers of their own and one ledger."""

    def __init__(self, serving: Any, **settings: Any) -> None:
        self.store = Store()
        self.ledgers = [MemoryLedger(self.store, name) for name in "ab"]
        self._serving = serving
        self._settings = settings
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Any:
        return self, *[
            await self._stack.enter_async_context(self._serving(ledger=ledger, **self._settings))
            for ledger in self.ledgers
        ]

    async def __aexit__(self, *error: Any) -> None:
        await self._stack.aclose()


async def begun(served: Any, text: bytes, **more: Any) -> tuple[Any, Submit]:
    """A request of which so much is committed and read."""
    call = served.inference.Generate(asked(**more))
    submit = await served.router.submitted()
    if text:
        served.router.tokens(submit, 0, text)
        await received(call, len(text))
    return call, submit


async def test_the_name_is_told_at_once(serving: Any, helpers: Any) -> None:
    async with serving(max_sessions=1) as served:
        calls = [served.inference.Generate(GenerateRequest(prompt="hi")) for _ in range(2)]
        calls.append(served.inference.Generate(asked()))
        names = [dict(await call.initial_metadata())["ringroad-request-id"] for call in calls]
        assert len(set(names)) == 3
        assert names[2] == "mine"
        for call in calls:
            call.cancel()


async def test_the_same_request_is_the_same_generation(serving: Any, helpers: Any) -> None:
    async with serving() as served:
        first, submit = await begun(served, b"ab")
        second = served.inference.Generate(asked())
        assert await received(second, 2) == "ab"  # from its beginning
        served.router.end(submit, 2, Finish.LENGTH, b"cd")
        assert (await text_from(helpers, first, 2))[0] == "cd"
        text, _, final = await text_from(helpers, second, 2)
        assert (text, final.usage.seed, final.usage.completion_tokens) == ("cd", submit.sampling.seed, 4)
        text, _, final = await text_from(helpers, served.inference.Generate(asked()))  # it has ended
        assert (text, final.usage.seed) == ("abcd", submit.sampling.seed)
        code, _ = await helpers.failure(served.inference.Generate(asked(prompt="ho")))
        assert code is grpc.StatusCode.ALREADY_EXISTS
        assert served.router.quiet


async def test_a_request_that_cannot_be_resumed_ends_with_its_last_reader(serving: Any, helpers: Any) -> None:
    async with serving() as served:
        first, submit = await begun(served, b"ab", resumable=False)
        second = served.inference.Generate(asked(resumable=False))
        await received(second, 2)
        first.cancel()
        served.router.tokens(submit, 2, b"c")
        assert await received(second, 1) == "c"
        assert served.router.quiet
        second.cancel()
        assert await served.router.cancelled() == Cancel(submit.session)
        await served.until_load(0, 0)
        code, _ = await helpers.failure(served.inference.Generate(rest(0)))
        assert code is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("stops", [[], ["STOP", "日本人"], ["and"], ["so on!"], ["zz", " 日本, "]])
@pytest.mark.parametrize("step", [1, 3])
def test_a_text_goes_on_at_any_token(helpers: Any, stops: list[str], step: int) -> None:
    """What was sent up to a cut, and what is sent from there on, is the text: wherever it is cut."""
    tokens = [*TEXT, TEXT[5]]  # it ends within a character
    whole = bytes(tokens).decode(errors="replace")
    whole = min((whole.split(stop)[0] for stop in stops), key=len, default=whole)
    submit = Submit("mine", [1], 60, Mode.LARGE, Sampling())
    record = Record(submit, stops, b"")
    transcript = Session(record, helpers.toy_tokenizer(), resumable=True, recorded=False)
    transcript.put(Chunk("mine", 0, tokens, [Speaker.LARGE] * len(tokens)))
    transcript.end(Finish.LENGTH)
    ending = transcript.transcript.ending
    assert ending is not None
    tokens = tokens[: ending.length]

    def parts(start: int) -> list[Part]:
        cuts = [*range(start, len(tokens), step), len(tokens)]
        found = [Part(i, tokens[i:j], [Speaker.LARGE] * (j - i)) for i, j in pairwise(cuts)]
        return [*found, Part(len(tokens), [], [], ending)]

    def sent(answer: Answer, parts: list[Part]) -> list[Delta]:
        return [answer_.delta for part in parts if (answer_ := answer.delta(part))]

    tokenizer = helpers.toy_tokenizer()
    deltas = sent(Answer(record, tokenizer), parts(0))
    assert "".join(delta.text for delta in deltas) == whole
    assert [token for delta in deltas for token in delta.token_ids] == tokens
    for count in range(len(deltas) + 1):
        before = "".join(delta.text for delta in deltas[:count])
        offset = sum(len(delta.token_ids) for delta in deltas[:count])
        for start in (1, 7):  # parts come otherwise the second time
            first = Part(0, tokens[:start], [Speaker.LARGE] * start)
            rest = sent(Answer(record, tokenizer, offset), [first, *parts(start)])
            assert before + "".join(delta.text for delta in rest) == whole
            assert [token for delta in rest for token in delta.token_ids] == tokens[offset:]
            assert [delta.offset for delta in rest[:1]] in ([offset], [])


@pytest.mark.parametrize("field", ["prompt", "max_tokens", "stop", "sampling", "mode", "model"])
async def test_nothing_else_is_asked_with_resume(serving: Any, helpers: Any, field: str) -> None:
    values = {
        "prompt": "",
        "max_tokens": 4,
        "stop": ["x"],
        "sampling": {"seed": 1},
        "mode": 1,
        "model": "toy",
    }
    async with serving() as served:
        call, _ = await begun(served, b"ab")
        code, details = await helpers.failure(served.inference.Generate(rest(2, **{field: values[field]})))
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert details.field_violations[0].field == field
        call.cancel()


@pytest.mark.parametrize(
    ("request_id", "offset", "field"),
    [("", 0, "request_id"), ("a b", 0, "request_id"), ("mine", 17, "resume.next_offset")],
)
async def test_a_bad_resume_names_its_field(
    serving: Any, helpers: Any, request_id: str, offset: int, field: str
) -> None:
    async with serving() as served:
        call, _ = await begun(served, b"ab")
        bad = served.inference.Generate(rest(offset, request_id=request_id))
        code, details = await helpers.failure(bad)
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert details.field_violations[0].field == field
        call.cancel()


async def test_an_offset_beyond_the_end_is_refused_when_that_is_known(serving: Any, helpers: Any) -> None:
    """Before, a client may have read more than who goes on with the text has committed yet."""
    async with serving() as served:
        call, submit = await begun(served, b"ab")
        beyond = served.inference.Generate(rest(4))
        within = served.inference.Generate(rest(3))
        served.router.end(submit, 2, Finish.STOP, b"c")
        code, details = await helpers.failure(beyond)
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert details.field_violations[0].field == "resume.next_offset"
        text, length, _ = await text_from(helpers, within, 3)
        assert (text, length) == ("", 3)
        await text_from(helpers, call, 2)


@pytest.mark.parametrize("finish", [Finish.CANCELLED, Finish.ERROR])
async def test_who_has_more_of_a_text_than_it_had_at_its_end_is_told_of_the_end(
    serving: Any, helpers: Any, finish: Finish
) -> None:
    """Tokens that were lost with a gateway were not generated again before it was cut short."""
    async with serving() as served:
        _, submit = await begun(served, b"ab")
        beyond = served.inference.Generate(rest(4))
        await beyond.initial_metadata()
        if finish is Finish.CANCELLED:
            await served.control.Abort(control_pb2.AbortRequest(request_id="mine"))
        served.router.end(submit, 2, finish)
        text, _, final = await text_from(helpers, beyond, 4)
        assert (text, final.usage.completion_tokens) == ("", 2)
        assert (final.finish_reason == FINISH_REASON_CANCELLED) == (finish is Finish.CANCELLED)


async def test_a_broken_stream_leaves_its_request_running(serving: Any, helpers: Any) -> None:
    async with serving() as served:
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{served.gateway.port}")
        other = type(served)(served.gateway, served.router, channel)
        _, submit = await begun(other, b"ab")
        await channel.close()
        served.router.tokens(submit, 2, b"cd")
        text = await received(again := served.inference.Generate(rest(2)), 2)
        assert text == "cd"
        assert served.router.quiet
        assert served.gateway._sessions.find("mine").leaving is None  # nobody waits for anybody any more
        served.router.end(submit, 4, Finish.LENGTH, counts=Counts(consults=9))
        _, _, final = await text_from(helpers, again, 4)
        assert (final.usage.completion_tokens, final.usage.consults) == (4, 9)


async def test_nobody_comes_back_in_time(serving: Any, helpers: Any) -> None:
    async with serving(resume_seconds=0.05) as served:
        call, submit = await begun(served, b"ab")
        call.cancel()
        assert await served.router.cancelled() == Cancel(submit.session)
        await served.until_load(0, 0)
        code, _ = await helpers.failure(served.inference.Generate(rest(2)))
        assert code is grpc.StatusCode.NOT_FOUND
        assert not served.gateway._sessions._known


async def test_a_deadline_that_passes_ends_the_request(serving: Any, helpers: Any) -> None:
    async with serving() as served:
        call = served.inference.Generate(asked(), timeout=0.3)
        submit = await served.router.submitted()
        code, _ = await helpers.failure(call)
        assert code is grpc.StatusCode.DEADLINE_EXCEEDED
        assert await served.router.cancelled() == Cancel(submit.session)
        await served.until_load(0, 0)
        _, _, final = await text_from(helpers, served.inference.Generate(rest(0)))
        assert final.finish_reason == FINISH_REASON_CANCELLED


async def test_of_those_that_have_ended_so_many_are_kept(serving: Any, helpers: Any) -> None:
    async with serving(max_kept=2) as served:
        for name in "abc":
            call = served.inference.Generate(asked(request_id=name))
            served.router.end(await served.router.submitted(), 0, Finish.LENGTH, b"x")
            await helpers.read(call)
        code, _ = await helpers.failure(served.inference.Generate(rest(0, request_id="a")))
        assert code is grpc.StatusCode.NOT_FOUND
        for name in "bc":
            assert (await text_from(helpers, served.inference.Generate(rest(0, request_id=name))))[0] == "x"


# --- with a ledger ------------------------------------------------------------------------------


async def test_what_has_ended_elsewhere_is_read_from_the_ledger(serving: Any, helpers: Any) -> None:
    async with Cluster(serving) as (cluster, a, b):
        call = a.inference.Generate(asked(stop=["d"]))
        submit = await a.router.submitted()
        a.router.tokens(submit, 0, b"abcde", Speaker.SMALL_KEPT)
        await a.router.cancelled()
        a.router.end(submit, 5, Finish.STOP, counts=Counts(7, 0, 2))
        _, _, there = await text_from(helpers, call)
        row = cluster.store.rows["mine"]
        assert (row.owner, bytes(row.tokens)) == (None, b"abcd")
        text, _, here = await text_from(helpers, b.inference.Generate(rest(1)), 1)
        assert (text, here.finish_reason) == ("bc", FINISH_REASON_STOP)
        assert here == there  # the usage of the whole request
        assert (await text_from(helpers, b.inference.Generate(asked(stop=["d"]))))[2] == there
        code, _ = await helpers.failure(b.inference.Generate(asked()))
        assert code is grpc.StatusCode.ALREADY_EXISTS
        assert await b.load() == (0, 0)
        assert b.router.quiet


async def test_another_gateways_text_is_followed(serving: Any, helpers: Any) -> None:
    async with Cluster(serving) as (_, a, b):
        call, submit = await begun(a, "né".encode())
        follower = b.inference.Generate(rest(1))
        assert await received(follower, 2) == "é"
        a.router.tokens(submit, 3, "🙂".encode())
        assert await received(follower, 4) == "🙂"
        assert await b.load() == (0, 0)
        a.router.end(submit, 7, Finish.LENGTH)
        _, _, there = await text_from(helpers, call, 3)
        _, _, here = await text_from(helpers, follower, 7)
        assert here == there
        assert b.router.quiet


@pytest.mark.parametrize("followed", [False, True])
async def test_a_request_whose_gateway_is_gone_is_taken_up(
    serving: Any, helpers: Any, followed: bool
) -> None:
    async with Cluster(serving) as (cluster, a, b):
        _, old = await begun(a, b"abc", sampling={"temperature": 1})
        row = cluster.store.rows["mine"]
        if followed:
            call = b.inference.Generate(rest(2))
            assert await received(call, 1) == "c"
        row.owner = None  # its lease has ended
        cluster.store.changed()
        if not followed:
            call = b.inference.Generate(rest(4))  # more than the ledger was told in time
        submit = await b.router.submitted()
        assert (submit.committed, submit.speakers) == ([*b"abc"], [Speaker.LARGE] * 3)
        assert submit.sampling == old.sampling
        assert await b.load() == (1, 0)
        assert row.owner == "b"
        b.router.end(submit, 3, Finish.LENGTH, b"de", Counts(2, 0, 1))
        text, length, final = await text_from(helpers, call, 3 if followed else 4)
        assert text == ("de" if followed else "e")
        assert (length, final.usage.completion_tokens) == (5, 5)
        assert list(final.usage.degraded) == ["gateway"]
        assert bytes(row.tokens) == b"abcde"
        assert row.ending is not None


async def test_a_take_over_needs_a_place(serving: Any, helpers: Any) -> None:
    async with Cluster(serving, max_sessions=1, max_waiting=0) as (cluster, a, b):
        call, _ = await begun(a, b"abc")
        busy = b.inference.Generate(GenerateRequest(prompt="hi"))
        await b.router.submitted()
        cluster.store.rows["mine"].owner = None
        code, retry = await helpers.failure(b.inference.Generate(rest(3)))
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert retry.retry_delay.seconds > 0
        assert cluster.store.rows["mine"].owner is None  # for whoever has one
        busy.cancel()
        call.cancel()
        await b.until_load(0, 0)


async def test_three_ask_at_once_for_what_is_to_be_taken_up(serving: Any, helpers: Any) -> None:
    async with Cluster(serving) as (cluster, a, b):
        await begun(a, b"abc")
        cluster.store.rows["mine"].owner = None
        cluster.ledgers[1].crowd = asyncio.Barrier(3)
        calls = [b.inference.Generate(rest(3)), b.inference.Generate(asked()), b.inference.Generate(rest(0))]
        submit = await b.router.submitted()
        for call in calls:
            await call.initial_metadata()
        assert await b.load() == (1, 0)
        session = b.gateway._sessions.find("mine")
        assert (session.readers, session.follower) == (3, None)
        b.router.end(submit, 3, Finish.LENGTH, b"d")
        texts = [(await text_from(helpers, c, o))[0] for c, o in zip(calls, (3, 0, 0), strict=True)]
        assert texts == ["d", "abcd", "abcd"]
        assert b.router.quiet
        assert await b.load() == (0, 0)


async def test_the_ledger_away(serving: Any, helpers: Any) -> None:
    async with Cluster(serving) as (cluster, a, b):
        call, submit = await begun(a, b"abc")
        info = control_pb2.GetServerInfoRequest()
        assert (await b.control.GetServerInfo(info)).ledger == "there"
        for ledger in cluster.ledgers:
            ledger.away = True
        assert (await b.control.GetServerInfo(info)).ledger == "away"
        code, retry = await helpers.failure(b.inference.Generate(rest(3)))
        assert code is grpc.StatusCode.UNAVAILABLE
        assert retry.retry_delay.seconds > 0
        code, _ = await helpers.failure(b.control.Abort(control_pb2.AbortRequest(request_id="mine")))
        assert code is grpc.StatusCode.UNAVAILABLE
        assert await b.complete(request_id="other") == "ok"  # generation goes on
        a.router.end(submit, 3, Finish.LENGTH, b"d")
        assert (await text_from(helpers, a.inference.Generate(rest(3)), 3))[0] == "d"  # live here
        call.cancel()


async def test_a_slow_ledger_delays_no_request_for_long(serving: Any, helpers: Any) -> None:
    async with Cluster(serving) as (cluster, a, _):
        cluster.ledgers[0].slow = True
        assert await a.complete(request_id="other") == "ok"
        assert cluster.ledgers[0].looks == 1
        assert await a.complete() == "ok"  # a name made here is not looked for
        assert cluster.ledgers[0].looks == 1


async def test_no_ledger(serving: Any, helpers: Any) -> None:
    async with serving() as served:
        assert (await served.control.GetServerInfo(control_pb2.GetServerInfoRequest())).ledger == "none"
        code, _ = await helpers.failure(served.inference.Generate(rest(0)))
        assert code is grpc.StatusCode.NOT_FOUND


async def test_an_unknown_request(serving: Any, helpers: Any) -> None:
    async with Cluster(serving) as (_, a, _b):
        code, _ = await helpers.failure(a.inference.Generate(rest(0)))
        assert code is grpc.StatusCode.NOT_FOUND


async def test_what_nobody_could_ask_for_is_not_recorded(serving: Any, helpers: Any) -> None:
    async with Cluster(serving) as (cluster, a, _):
        assert await a.complete() == "ok"
        assert not cluster.store.rows
        assert await a.complete(resumable=True) == "ok"
        assert await a.complete(request_id="mine") == "ok"
        assert len(cluster.store.rows) == 2


async def test_abort_reaches_another_gateway(serving: Any, helpers: Any) -> None:
    async with Cluster(serving) as (_, a, b):
        call, submit = await begun(a, b"abc")
        follower = b.inference.Generate(rest(3))
        await follower.initial_metadata()
        assert (await b.control.Abort(control_pb2.AbortRequest(request_id="mine"))).aborted
        assert await a.router.cancelled() == Cancel(submit.session)
        a.router.end(submit, 3, Finish.CANCELLED)
        for each in (call, follower):
            assert (await text_from(helpers, each, 3))[2].finish_reason == FINISH_REASON_CANCELLED
        assert not (await b.control.Abort(control_pb2.AbortRequest(request_id="mine"))).aborted


async def test_who_left_and_asks_again_has_it_go_on(serving: Any, helpers: Any) -> None:
    """Also where it was not resumable: under its name it is the same generation."""
    async with Cluster(serving) as (cluster, a, b):
        call, first = await begun(a, b"abc", resumable=False)
        call.cancel()
        await cluster.store.until_owned("mine", None)
        again = b.inference.Generate(asked(resumable=False))
        submit = await b.router.submitted()
        assert (submit.committed, submit.sampling) == ([*b"abc"], first.sampling)
        b.router.end(submit, 3, Finish.LENGTH, b"d")
        text, _, final = await text_from(helpers, again)
        assert (text, final.finish_reason) == ("abcd", FINISH_REASON_LENGTH)


async def test_a_failed_request_goes_on_when_it_is_asked_for_again(serving: Any, helpers: Any) -> None:
    async with Cluster(serving) as (cluster, a, _):
        call, submit = await begun(a, b"abc")
        a.router.end(submit, 3, Finish.ERROR)
        await text_from(helpers, call, 3)
        assert cluster.store.rows["mine"].ending is None
        again = a.inference.Generate(rest(3))
        submit = await a.router.submitted()
        assert submit.committed == [*b"abc"]
        a.router.end(submit, 3, Finish.LENGTH, b"d")
        assert (await text_from(helpers, again, 3))[0] == "d"


async def test_a_text_that_had_stopped_ends_at_once(serving: Any, helpers: Any) -> None:
    async with Cluster(serving) as (cluster, a, b):
        await begun(a, b"", stop=["!"])
        await cluster.store.until_owned("mine", "a")
        cluster.ledgers[0].commit("mine", 0, [*b"ab!"], [Speaker.LARGE] * 3)
        cluster.store.rows["mine"].owner = None
        text, _, final = await text_from(helpers, b.inference.Generate(rest(0)))
        assert (text, final.finish_reason) == ("ab", FINISH_REASON_STOP)
        assert b.router.quiet
        assert await b.load() == (0, 0)
        assert cluster.store.rows["mine"].ending is not None


async def test_a_gateway_without_a_router_leaves_requests_to_others(serving: Any, helpers: Any) -> None:
    async with Cluster(serving) as (cluster, a, b):
        await begun(a, b"abc")
        cluster.store.rows["mine"].owner = None
        b.router.say(Roster([]))
        b.router.lose()
        await b.router_lost()
        code, _ = await helpers.failure(b.inference.Generate(rest(3)))
        assert code is grpc.StatusCode.UNAVAILABLE
        assert cluster.store.rows["mine"].owner is None
