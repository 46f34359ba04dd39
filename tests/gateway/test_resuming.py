"""Streams that are read again at their own gateway: by name, from any token, for a while."""

from itertools import pairwise
from typing import Any

import grpc
import grpc.aio
import pytest

from ringroad.actors.gateway.session import Session
from ringroad.actors.gateway.stream import Answer
from ringroad.actors.ledger.ledger import Part, Record
from ringroad.actors.messages import Cancel, Chunk, Counts, Finish, Mode, Sampling, Speaker, Submit
from ringroad.v1 import control_pb2
from ringroad.v1.inference_pb2 import (
    FINISH_REASON_CANCELLED,
    Delta,
    GenerateRequest,
)
from tests.gateway.streams import TEXT, asked, begun, received, rest, text_from


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
