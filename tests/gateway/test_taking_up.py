"""Requests that others began: read from the ledger, followed, or taken up where their gateway is gone."""

import asyncio
from typing import Any

import grpc
import grpc.aio
import pytest

from ringroad.actors.messages import Cancel, Counts, Finish, Roster, Speaker
from ringroad.v1 import control_pb2
from ringroad.v1.inference_pb2 import (
    FINISH_REASON_CANCELLED,
    FINISH_REASON_LENGTH,
    FINISH_REASON_STOP,
    GenerateRequest,
)
from tests.gateway.streams import Cluster, asked, begun, received, rest, text_from


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


@pytest.mark.parametrize("away", [False, True])
async def test_abort_of_what_runs_here_reaches_another_gateway_too(serving: Any, away: bool) -> None:
    """Which began it as well, while the ledger was away."""
    async with Cluster(serving) as (cluster, a, _):
        call, submit = await begun(a, b"abc")
        other = cluster.store.aborts["c"] = asyncio.Queue()
        cluster.store.rows["mine"].owner = "c"
        cluster.ledgers[0].away = away
        assert (await a.control.Abort(control_pb2.AbortRequest(request_id="mine"))).aborted
        assert await a.router.cancelled() == Cancel(submit.session)
        assert [other.get_nowait() for _ in range(other.qsize())] == ["mine"] * (not away)
        call.cancel()


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
