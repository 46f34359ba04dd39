"""Chat completions, as OpenAI's own client asks for them and reads them."""

import asyncio
from typing import Any

from pydantic import BaseModel

from ringroad.actors.messages import Chunk, Finish, Speaker
from tests.gateway.openai.clients import END, MODEL, USER, answered, client, say


async def test_a_conversation_is_answered(serving: Any) -> None:
    async with serving(http_port=0) as served, client(served) as ask:
        answer, submit = await answered(served, ask.chat.completions.create(model=MODEL, messages=USER))
        assert bytes(submit.prompt) == b"[user]hi[assistant]"
        assert submit.sampling.temperature == 1  # OpenAI's default
        assert submit.max_tokens == 16  # the server's
        (choice,) = answer.choices
        assert (choice.index, choice.finish_reason, choice.logprobs) == (0, "stop", None)
        assert (choice.message.role, choice.message.content) == ("assistant", "ok")
        assert answer.object == "chat.completion"
        assert answer.model == MODEL
        assert answer.id == f"chatcmpl-{answer._request_id}"
        usage = answer.usage
        assert usage is not None
        assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (19, 3, 22)
        assert "ringroad" not in answer.to_dict()
        assert "ringroad" not in answer.to_dict()["choices"][0]  # type: ignore[index]


async def test_it_comes_bit_by_bit(serving: Any) -> None:
    async with serving(http_port=0) as served, client(served) as ask:
        asking = asyncio.create_task(ask.chat.completions.create(model=MODEL, messages=USER, stream=True))
        submit = await served.router.submitted()
        served.router.tokens(submit, 0, b"a")
        words = []
        async for chunk in await asking:
            assert chunk.object == "chat.completion.chunk"
            assert chunk.usage is None
            words.append(chunk.choices[0].delta.content)
            if words[-1] == "a":  # the rest is said only now
                served.router.end(submit, 1, Finish.LENGTH, b"b")
        assert words == ["", "a", "b", None]
        assert chunk.choices[0].finish_reason == "length"


async def test_usage_ends_a_stream_that_wants_it(serving: Any) -> None:
    async with serving(http_port=0) as served, client(served) as ask:
        options: Any = {"include_usage": True}
        asking = ask.chat.completions.create(model=MODEL, messages=USER, stream=True, stream_options=options)
        stream, _ = await answered(served, asking)
        *others, last = [chunk async for chunk in stream]
        assert [chunk.to_dict()["usage"] for chunk in others] == [None] * len(others)
        assert last.choices == []
        assert last.usage is not None
        assert (last.usage.prompt_tokens, last.usage.completion_tokens) == (19, 3)


async def test_turns_are_read_in_all_their_shapes(serving: Any) -> None:
    async with serving(http_port=0) as served, client(served) as ask:
        first, _ = await answered(served, ask.chat.completions.create(model=MODEL, messages=USER))
        messages: Any = [
            {"role": "developer", "content": "d"},
            {"role": "system", "content": [{"type": "text", "text": "s"}, {"type": "text", "text": "t"}]},
            *USER,
            first.choices[0].message,  # as it came
            {"role": "user", "content": "?"},
        ]
        _, submit = await answered(served, ask.chat.completions.create(model=MODEL, messages=messages))
        assert bytes(submit.prompt) == b"[system]d[system]s\nt[user]hi[assistant]ok[user]?[assistant]"


async def test_logprobs_come_with_bytes(serving: Any) -> None:
    async with serving(http_port=0) as served, client(served) as ask:
        asking = ask.chat.completions.create(model=MODEL, messages=USER, logprobs=True, top_logprobs=2)
        answer, submit = await answered(served, asking, "é".encode())
        assert submit.sampling.logprobs == 2
        assert answer.choices[0].message.content == "é"
        logprobs = answer.choices[0].logprobs
        assert logprobs is not None
        assert logprobs.content is not None
        assert [one.bytes for one in logprobs.content] == [[0xC3], [0xA9], []]
        assert [one.token for one in logprobs.content] == ["\ufffd", "\ufffd", ""]
        assert logprobs.content[0].logprob == -0.5
        assert [(top.bytes, top.logprob) for top in logprobs.content[1].top_logprobs] == [
            ([0xA9], -0.5),
            ([0], -1.5),
        ]


async def test_logprobs_without_others_are_of_the_tokens_alone(serving: Any) -> None:
    async with serving(http_port=0) as served, client(served) as ask:
        asking = ask.chat.completions.create(model=MODEL, messages=USER, logprobs=True, stream=True)
        stream, submit = await answered(served, asking)
        assert submit.sampling.logprobs == 0
        told = [chunk.choices[0].logprobs async for chunk in stream]
        content = [one for part in told if part is not None for one in part.content or []]
        assert [(one.token, one.top_logprobs) for one in content] == [("o", []), ("k", []), ("", [])]


class Point(BaseModel):
    """A form that the client's own helper asks for."""

    x: int
    y: int


async def test_an_answer_of_a_form_is_parsed(serving: Any) -> None:
    async with serving(http_port=0) as served, client(served) as ask:
        asking = ask.chat.completions.parse(model=MODEL, messages=USER, response_format=Point)
        answer, submit = await answered(served, asking, b'{"x": 1, "y": 2}')
        assert answer.choices[0].message.parsed == Point(x=1, y=2)
        assert '"x"' in submit.sampling.shaping.grammar
        asking_any = ask.chat.completions.create(
            model=MODEL, messages=USER, response_format={"type": "json_object"}
        )
        _, submit = await answered(served, asking_any, b"{}")
        assert "object" in submit.sampling.shaping.grammar
        plain = ask.chat.completions.create(model=MODEL, messages=USER, response_format={"type": "text"})
        _, submit = await answered(served, plain)
        assert submit.sampling.shaping is None


async def test_samples_are_told_apart(serving: Any) -> None:
    for stream in (False, True):
        async with serving(http_port=0) as served, client(served) as ask:
            more: Any = {"n": 3, "seed": 7, "extra_body": {"ringroad": {}}, "stream": stream}
            asking = asyncio.create_task(ask.chat.completions.create(model=MODEL, messages=USER, **more))
            submits = [await served.router.submitted() for _ in range(3)]
            for sample, submit in reversed(list(enumerate(submits))):
                say(served, submit, b"ab"[: sample + 1], Finish.LENGTH if sample else Finish.STOP)
            answer: Any = await asking
            if stream:
                texts, reasons = ["", "", ""], ["", "", ""]
                async for chunk in answer:
                    for choice in chunk.choices:
                        texts[choice.index] += choice.delta.content or ""
                        reasons[choice.index] += choice.finish_reason or ""
                usage = chunk.ringroad["usage"]
            else:
                texts = [choice.message.content for choice in answer.choices]
                reasons = [choice.finish_reason for choice in answer.choices]
                seeds = [choice.ringroad["usage"]["seed"] for choice in answer.choices]
                assert seeds == [submit.sampling.seed for submit in submits]
                assert answer.usage.completion_tokens == 2 + 2 + 2
                usage = answer.ringroad["usage"]
            assert texts == ["a", "ab", "ab"]
            assert reasons == ["stop", "length", "length"]
            assert usage["seed"] == 7


async def test_who_spoke_is_told_to_who_asks_with_ringroad(serving: Any) -> None:
    async with serving(http_port=0) as served, client(served) as ask:
        text = "né 🙂!".encode()
        for stream in (False, True):
            asking = ask.chat.completions.create(
                model=MODEL,
                messages=USER,
                stream=stream,
                extra_body={"ringroad": {"request_id": f"mine-{stream}", "mode": "routed"}},
            )
            answer: Any
            answer, _ = await answered(served, asking, text)
            told = [answer] if not stream else [chunk async for chunk in answer]
            tokens = [
                choice.ringroad for one in told for choice in one.choices if hasattr(choice, "ringroad")
            ]
            ids = [token for one in tokens for token in one["token_ids"]]
            texts = [piece for one in tokens for piece in one["texts"]]
            speakers = [speaker for one in tokens for speaker in one["speakers"]]
            assert ids == [*text, END]
            assert texts == ["n", "", "é", " ", "", "", "", "🙂", "!", ""]
            assert speakers == (["small_kept", "small_accepted", "large"] * 4)[:10]
            last = told[-1].ringroad
            assert last["request_id"] == f"mine-{stream}"
            assert (last["usage"]["small_tokens"], last["usage"]["large_tokens"]) == (7, 3)
            assert last["usage"]["seed"] < 2**53


async def test_what_comes_late_joins_a_text_in_pieces(serving: Any) -> None:
    """Joined, the pieces are the text: where a stop string cuts it, and where a character never ends."""
    async with serving(http_port=0) as served, client(served) as ask:
        for text, stop, pieces in (
            (b"ab\xc3", None, ["a", "b", "\ufffd"]),
            (b"abST", "ST", ["a", "b", "", ""]),
        ):
            asking = asyncio.create_task(
                ask.chat.completions.create(
                    model=MODEL, messages=USER, stop=stop, stream=True, extra_body={"ringroad": {}}
                )
            )
            submit = await served.router.submitted()
            for offset, token in enumerate(text):
                served.router.say(Chunk(submit.session, offset, [token], [Speaker.LARGE]))
            served.router.end(submit, len(text), Finish.LENGTH)
            content, texts = "", []
            async for chunk in await asking:
                content += chunk.choices[0].delta.content or ""
                texts += getattr(chunk.choices[0], "ringroad", {"texts": []})["texts"]
            assert (content, texts) == ("".join(pieces), pieces)
