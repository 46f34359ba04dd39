"""Clients that leave, that are many, and that ask both ways."""

import asyncio
from typing import Any

import aiohttp
import pytest
from msgspec.structs import replace

from ringroad.actors.messages import Chunk, Finish, Speaker, Submit
from ringroad.v1.inference_pb2 import MODE_SPECULATIVE, GenerateRequest
from tests.gateway.openai.clients import END, MODEL, USER, client, say, url


async def test_closing_a_stream_ends_the_request(serving: Any) -> None:
    async with serving(http_port=0) as served, client(served) as ask:
        asking = asyncio.create_task(ask.chat.completions.create(model=MODEL, messages=USER, stream=True))
        submit = await served.router.submitted()
        served.router.tokens(submit, 0, b"a")
        stream = await asking
        await anext(aiter(stream))
        await stream.close()
        assert (await served.router.cancelled()).session == submit.session
        served.router.end(submit, 1, Finish.CANCELLED)
        await served.until_load(0, 0)


@pytest.mark.parametrize("stream", [False, True])
async def test_leaving_before_anything_was_said_ends_it_too(serving: Any, stream: bool) -> None:
    async with serving(http_port=0) as served, client(served) as ask:
        asking = asyncio.create_task(ask.chat.completions.create(model=MODEL, messages=USER, stream=stream))
        submit = await served.router.submitted()
        asking.cancel()
        assert (await served.router.cancelled()).session == submit.session
        served.router.end(submit, 0, Finish.CANCELLED)
        await served.until_load(0, 0)


async def test_leaving_the_line_frees_the_place_in_it(serving: Any) -> None:
    async with serving(http_port=0, max_sessions=1) as served, client(served) as ask:
        first = asyncio.create_task(ask.chat.completions.create(model=MODEL, messages=USER))
        submit = await served.router.submitted()
        second = asyncio.create_task(ask.chat.completions.create(model=MODEL, messages=USER))
        await served.until_load(1, 1)
        second.cancel()
        await served.until_load(1, 0)
        say(served, submit, b"a", Finish.LENGTH)
        await first


async def test_a_resumable_request_goes_on_and_is_read_on(serving: Any) -> None:
    async with serving(http_port=0) as served, aiohttp.ClientSession() as session:
        named: Any = {"request_id": "mine", "resumable": True}
        body: Any = {"messages": USER, "stream": True, "ringroad": named}
        asking = asyncio.create_task(session.post(url(served, "/chat/completions"), json=body))
        submit = await served.router.submitted()
        served.router.tokens(submit, 0, b"ab")
        response = await asking
        assert response.headers["X-Request-Id"] == "mine"
        await response.content.readuntil(b'"ab"')
        response.close()
        served.router.end(submit, 2, Finish.LENGTH, b"cd")
        rest = {"ringroad": {"request_id": "mine", "resume": {"next_offset": 2}}}
        async with session.post(url(served, "/chat/completions"), json=rest) as response:
            answer = await response.json()
        assert answer["choices"][0]["message"]["content"] == "cd"
        assert answer["choices"][0]["ringroad"]["offset"] == 2
        assert served.router.quiet


async def test_many_are_answered_at_once_each_their_own(serving: Any) -> None:
    count = 100
    async with serving(http_port=0, max_sessions=count) as served, client(served) as ask:

        async def whole(n: int) -> str:
            answer = await ask.completions.create(model=MODEL, prompt=f"{n}")
            return answer.choices[0].text

        async def streamed(n: int) -> str:
            stream = await ask.completions.create(model=MODEL, prompt=f"{n}", stream=True)
            return "".join([chunk.choices[0].text async for chunk in stream])

        async def play() -> None:
            for _ in range(count):
                submit = await served.router.submitted()
                for offset, token in enumerate([*b"<", *submit.prompt]):
                    served.router.tokens(submit, offset, [token])
                served.router.end(submit, 1 + len(submit.prompt), Finish.STOP, [*b">", END])

        asking = [(streamed if n % 2 else whole)(n) for n in range(count)]
        *texts, _ = await asyncio.gather(*asking, play())
        assert texts == [f"<{n}>" for n in range(count)]
        await served.until_load(0, 0)


async def test_a_connection_is_kept_for_the_next_request(serving: Any) -> None:
    opened = []

    async def note(*_: Any) -> None:
        opened.append(1)

    tracing = aiohttp.TraceConfig()
    tracing.on_connection_create_end.append(note)
    async with serving(http_port=0) as served, aiohttp.ClientSession(trace_configs=[tracing]) as session:
        for stream in (False, True, False):
            body = {"prompt": "hi", "stream": stream}
            asking = asyncio.create_task(session.post(url(served, "/completions"), json=body))
            say(served, await served.router.submitted(), b"ok", Finish.STOP)
            async with await asking as response:
                await response.read()
    assert len(opened) == 1


# One request in both doors' words.
BOTH: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"temperature": 0.7, "seed": 7}, {"sampling": {"temperature": 0.7, "seed": 7}}),
    (
        {"stop": ["ST", "🙂"], "max_tokens": 30, "seed": 7, "temperature": 0},
        {"stop": ["ST", "🙂"], "max_tokens": 30, "sampling": {"seed": 7, "temperature": 0}},
    ),
    (
        {
            "seed": 7,
            "top_p": 0.5,
            "presence_penalty": 0.1,
            "logit_bias": {"65": -1.5},
            "ringroad": {"mode": "speculative", "top_k": 5, "speculation": {"draft_tokens": 3}},
        },
        {
            "sampling": {
                "seed": 7,
                "top_p": 0.5,
                "top_k": 5,
                "temperature": 1,
                "presence_penalty": 0.1,
                "logit_bias": {65: -1.5},
            },
            "mode": MODE_SPECULATIVE,
            "speculation": {"draft_tokens": 3},
        },
    ),
    (
        {"seed": 7, "ringroad": {"structure": {"regex": "[a-z ]+"}}},
        {"sampling": {"seed": 7, "temperature": 1}, "structure": {"regex": "[a-z ]+"}},
    ),
]


@pytest.mark.parametrize(("said", "meant"), BOTH)
@pytest.mark.parametrize("stream", [False, True])
async def test_both_doors_give_one_text(
    serving: Any, helpers: Any, said: dict[str, Any], meant: dict[str, Any], stream: bool
) -> None:
    def play(served: Any, submit: Submit) -> None:
        for offset, token in enumerate("né 🙂 日本, ab ST on".encode()):
            served.router.say(Chunk(submit.session, offset, [token], [Speaker.LARGE]))
        served.router.end(submit, offset + 1, Finish.LENGTH)

    def plain(submit: Submit) -> Submit:
        return replace(submit, session="")

    async with serving(http_port=0) as served:
        call = served.inference.Generate(GenerateRequest(chat={"messages": USER}, **meant))
        by_grpc = await served.router.submitted()
        play(served, by_grpc)
        text, final = await helpers.read(call)
        body = {"messages": USER, "stream": stream} | said
        async with client(served) as ask:
            extra = {name: body.pop(name) for name in ("ringroad",) if name in body}
            asking = asyncio.create_task(ask.chat.completions.create(model=MODEL, **body, extra_body=extra))
            by_http = await served.router.submitted()
            play(served, by_http)
            answer: Any = await asking
            if stream:
                content = "".join([chunk.choices[0].delta.content or "" async for chunk in answer])
            else:
                content = answer.choices[0].message.content
                assert answer.usage.completion_tokens == final.usage.completion_tokens
        assert content == text
        assert plain(by_http) == plain(by_grpc)
