"""One request's stream: texts, ends, and how everything is freed."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import grpc
import grpc.aio
import pytest

from ringroad.actors.messages import Cancel, Chunk, Counts, Finish, Mode, Speaker
from ringroad.v1 import control_pb2, inference_pb2
from ringroad.v1.inference_pb2 import GenerateRequest


@pytest.mark.parametrize(
    ("finish", "reason"),
    [
        (Finish.STOP, inference_pb2.FINISH_REASON_STOP),
        (Finish.LENGTH, inference_pb2.FINISH_REASON_LENGTH),
        (Finish.CANCELLED, inference_pb2.FINISH_REASON_CANCELLED),
        (Finish.ERROR, inference_pb2.FINISH_REASON_ERROR),
    ],
)
async def test_every_end_is_one_final(serving: Any, helpers: Any, finish: Finish, reason: int) -> None:
    async with serving() as served:
        call = served.inference.Generate(GenerateRequest(prompt="hi", request_id="r-1", sampling={"seed": 7}))
        submit = await served.router.submitted()
        assert submit.session.startswith("r-1~")
        served.router.tokens(submit, 0, b"he", Speaker.SMALL_KEPT)
        served.router.tokens(submit, 2, b"l", Speaker.SMALL_ACCEPTED)
        if finish is Finish.CANCELLED:
            assert (await served.control.Abort(control_pb2.AbortRequest(request_id="r-1"))).aborted
            await served.router.cancelled()
        served.router.say(
            Chunk(
                submit.session,
                3,
                [*b"lo"],
                [Speaker.LARGE] * 2,
                finish=finish,
                counts=Counts(9, 4, consults=3, kept=2, large=2, degraded=["drafter"], fallbacks=5),
                error="why",
            )
        )
        text, final = await helpers.read(call)
        assert text == "hello"
        assert final.finish_reason == reason
        assert final.request_id == "r-1"
        assert final.error == ("why" if finish is Finish.ERROR else "")
        usage = final.usage
        assert (usage.prompt_tokens, usage.completion_tokens) == (2, 5)
        assert (usage.drafted_tokens, usage.accepted_tokens, usage.consults) == (9, 1, 3)
        assert (usage.small_tokens, usage.large_tokens) == (3, 2)
        assert (list(usage.degraded), usage.fallback_tokens) == (["drafter"], 5)
        assert usage.seed == 7
        assert 0 < usage.time_to_first_token_seconds <= usage.total_seconds < helpers.SECONDS
        await served.until_load(0, 0)
        assert served.router.quiet  # it has ended: nothing to cancel
        assert await served.complete() == "ok"


async def test_an_error_before_the_first_delta_is_a_status(serving: Any, helpers: Any) -> None:
    async with serving() as served:
        call = served.inference.Generate(GenerateRequest(prompt="hi"))
        submit = await served.router.submitted()
        served.router.say(Chunk(submit.session, 0, [], [], finish=Finish.ERROR, error="no memory"))
        code, retry = await helpers.failure(call)
        assert code is grpc.StatusCode.UNAVAILABLE
        assert retry.retry_delay.seconds > 0
        assert await call.details() == "no memory"
        assert await served.complete() == "ok"


async def test_the_seed_is_drawn_and_told(serving: Any, helpers: Any) -> None:
    async with serving() as served:
        seeds = set()
        for _ in range(2):
            call = served.inference.Generate(GenerateRequest(prompt="hi"))
            submit = await served.router.submitted()
            served.router.end(submit, 0, Finish.LENGTH, b"x")
            _, final = await helpers.read(call)
            assert final.usage.seed == submit.sampling.seed
            assert final.request_id
            seeds.add(final.usage.seed)
        assert len(seeds) == 2


async def test_characters_arrive_whole(serving: Any, helpers: Any) -> None:
    async with serving() as served:
        text = "né 🙂 日本"
        call = served.inference.Generate(GenerateRequest(prompt="hi"))
        submit = await served.router.submitted()
        tokens = text.encode()
        for n, token in enumerate(tokens):
            served.router.tokens(submit, n, [token])
        served.router.end(submit, len(tokens), Finish.LENGTH, ["🙂".encode()[0]])
        got, sent = "", 0
        while (response := await call.read()).HasField("delta"):
            got += response.delta.text
            sent += len(response.delta.token_ids)
        assert got == text + "\ufffd"  # the text really ends inside a character
        assert sent == len(tokens) + 1


async def test_a_token_waits_for_its_text(serving: Any, helpers: Any) -> None:
    """Else a client that has all tokens, and resumes behind them, might lack what comes with the end."""
    async with serving() as served:
        call = served.inference.Generate(GenerateRequest(prompt="hi"))
        submit = await served.router.submitted()
        whole = "né 🙂 日本".encode()
        got, sent = "", 0
        for n, token in enumerate(whole):
            served.router.tokens(submit, n, [token])
            if n + 1 - _incomplete(whole[: n + 1]) <= sent:
                continue  # nothing comes
            delta = (await call.read()).delta
            got += delta.text
            sent += len(delta.token_ids)
            assert sent == n + 1 - _incomplete(whole[: n + 1])
            assert got == whole[:sent].decode(errors="ignore")
        call.cancel()


def _incomplete(text: bytes) -> bool:
    """Whether it ends within a character."""
    return text.decode(errors="ignore").encode() != text


@pytest.mark.parametrize(
    ("stops", "pieces", "text", "used"),
    [
        (["STOP"], ["a ST", "OP b"], "a ", 6),
        (["STOP"], ["a STOP b"], "a ", 6),
        (["STOP"], ["a S", "T", "O", "P"], "a ", 6),
        (["STOP", "x"], ["a STx"], "a ST", 5),
        (["aab"], ["aa", "aab"], "aa", 5),
        (["é🙂"], ["né", "🙂"], "n", 7),
        (["\n\n", "END"], ["one\n", "two\n\n"], "one\ntwo", 9),
        (["bcd", "abcde"], ["abcde"], "a", 4),
        (["cd", "bcd"], ["abcd"], "a", 4),
    ],
)
async def test_a_stop_string_ends_the_text_before_it(
    serving: Any, helpers: Any, stops: list[str], pieces: list[str], text: str, used: int
) -> None:
    async with serving() as served:
        call = served.inference.Generate(GenerateRequest(prompt="hi", stop=stops))
        submit = await served.router.submitted()
        offset = 0
        for piece in pieces:
            served.router.tokens(submit, offset, piece.encode())
            offset += len(piece.encode())
        cancel = await served.router.cancelled()
        assert cancel == Cancel(submit.session, Finish.STOP)
        served.router.tokens(submit, offset, b"more")
        served.router.end(submit, offset + 4, Finish.STOP, counts=Counts(drafted=5))
        got, final = await helpers.read(call)
        assert got == text
        assert final.finish_reason == inference_pb2.FINISH_REASON_STOP
        assert final.usage.completion_tokens == used
        assert final.usage.drafted_tokens == 5
        await served.until_load(0, 0)
        assert served.router.quiet


async def test_a_silent_router_cannot_delay_a_stop(serving: Any, helpers: Any) -> None:
    async with serving(settle_seconds=0.02) as served:
        call = served.inference.Generate(GenerateRequest(prompt="hi", stop=["b"]))
        submit = await served.router.submitted()
        served.router.tokens(submit, 0, b"abc")
        text, final = await helpers.read(call)
        assert text == "a"
        assert final.finish_reason == inference_pb2.FINISH_REASON_STOP
        await served.until_load(0, 0)


async def test_text_held_back_comes_at_the_end(serving: Any, helpers: Any) -> None:
    async with serving() as served:
        call = served.inference.Generate(GenerateRequest(prompt="hi", stop=["STOP"]))
        submit = await served.router.submitted()
        served.router.tokens(submit, 0, b"a ST")
        first = await call.read()
        assert first.delta.text == "a "
        assert bytes(first.delta.token_ids) == b"a S"
        served.router.end(submit, 4, Finish.LENGTH)
        second = await call.read()
        assert second.delta.text == "ST"
        assert bytes(second.delta.token_ids) == b"T"
        assert (await call.read()).final.finish_reason == inference_pb2.FINISH_REASON_LENGTH


async def test_a_stop_string_in_the_last_chunk_is_a_stop(serving: Any, helpers: Any) -> None:
    async with serving() as served:
        call = served.inference.Generate(GenerateRequest(prompt="hi", stop=["!"]))
        submit = await served.router.submitted()
        served.router.end(submit, 0, Finish.LENGTH, b"hi!x")
        text, final = await helpers.read(call)
        assert (text, final.usage.completion_tokens) == ("hi", 3)
        assert final.finish_reason == inference_pb2.FINISH_REASON_STOP


async def test_repeated_tokens_are_dropped_and_lost_ones_end_the_stream(serving: Any, helpers: Any) -> None:
    async with serving() as served:
        call = served.inference.Generate(GenerateRequest(prompt="hi"))
        submit = await served.router.submitted()
        served.router.tokens(submit, 0, b"abc")
        served.router.tokens(submit, 1, b"bcd")
        served.router.tokens(submit, 9, b"z")
        text, final = await helpers.read(call)
        assert text == "abcd"
        assert final.finish_reason == inference_pb2.FINISH_REASON_ERROR
        assert await served.router.cancelled() == Cancel(submit.session)


async def _leave_by_cancel(served: Any, call: Any) -> None:
    call.cancel()


async def _leave_by_deadline(served: Any, call: Any) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


@pytest.mark.parametrize("leave", [_leave_by_cancel, _leave_by_deadline])
@pytest.mark.parametrize("started", [False, True])
async def test_a_client_that_leaves_frees_everything(
    serving: Any, leave: Callable[[Any, Any], Coroutine[Any, Any, None]], started: bool
) -> None:
    async with serving() as served:
        timeout = 0.3 if leave is _leave_by_deadline else None
        call = served.inference.Generate(GenerateRequest(prompt="hi"), timeout=timeout)
        submit = await served.router.submitted()
        if started:
            served.router.tokens(submit, 0, b"abc")
            await call.read()
        assert await served.load() == (1, 0)
        await leave(served, call)
        assert await served.router.cancelled() == Cancel(submit.session)
        await served.until_load(0, 0)
        served.router.end(submit, 0, Finish.CANCELLED)  # too late: nobody is harmed
        assert await served.complete() == "ok"


async def test_a_lost_connection_frees_everything(serving: Any, helpers: Any) -> None:
    async with serving() as served:
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{served.gateway.port}")
        stub = type(served)(served.gateway, served.router, channel).inference
        call = stub.Generate(GenerateRequest(prompt="hi"))
        submit = await served.router.submitted()
        await channel.close()
        assert await served.router.cancelled() == Cancel(submit.session)
        await served.until_load(0, 0)
        with pytest.raises(asyncio.CancelledError):
            await call.read()


async def test_a_name_can_be_used_again_while_the_router_clears_up(serving: Any, helpers: Any) -> None:
    async with serving() as served:
        first = served.inference.Generate(GenerateRequest(prompt="hi", request_id="same"))
        old = await served.router.submitted()
        first.cancel()
        await served.router.cancelled()
        second = served.inference.Generate(GenerateRequest(prompt="hi", request_id="same"))
        new = await served.router.submitted()
        served.router.end(old, 0, Finish.CANCELLED)
        served.router.end(new, 0, Finish.LENGTH, b"ok")
        text, final = await helpers.read(second)
        assert (text, final.request_id) == ("ok", "same")


async def test_abort_ends_a_running_request(serving: Any, helpers: Any) -> None:
    async with serving() as served:
        call = served.inference.Generate(GenerateRequest(prompt="hi", request_id="mine"))
        submit = await served.router.submitted()
        served.router.tokens(submit, 0, b"ab")
        await call.read()
        assert not (await served.control.Abort(control_pb2.AbortRequest(request_id="other"))).aborted
        assert (await served.control.Abort(control_pb2.AbortRequest(request_id="mine"))).aborted
        assert await served.router.cancelled() == Cancel(submit.session, Finish.CANCELLED)
        served.router.end(submit, 2, Finish.CANCELLED, counts=Counts(consults=2))
        final = (await call.read()).final
        assert final.finish_reason == inference_pb2.FINISH_REASON_CANCELLED
        assert final.usage.consults == 2
        await served.until_load(0, 0)
        assert not (await served.control.Abort(control_pb2.AbortRequest(request_id="mine"))).aborted


async def test_a_slow_client_gets_what_piled_up_as_one_delta(serving: Any, helpers: Any) -> None:
    async with serving(default_mode=Mode.LARGE) as served:
        call = served.inference.Generate(GenerateRequest(prompt="hi", stop=["9"]))
        submit = await served.router.submitted()
        for n in range(9):
            served.router.tokens(submit, n, b"%d" % n)
        served.router.end(submit, 9, Finish.LENGTH, b"ab")
        text, final = await helpers.read(call)
        assert text == "012345678ab"
        assert final.finish_reason == inference_pb2.FINISH_REASON_LENGTH
