"""OpenAI's own client of a gateway whose router the test plays."""

import asyncio
import json
from collections.abc import Awaitable, Sequence
from typing import Any, TypeVar

import aiohttp
from openai import AsyncOpenAI

from ringroad.actors.messages import Chunk, Finish, Logprob, Speaker, Submit

USER = [{"role": "user", "content": "hi"}]
MODEL = "toy"
END = 257

T = TypeVar("T")


def url(served: Any, path: str = "") -> str:
    return f"http://127.0.0.1:{served.gateway.http_port}/v1{path}"


def client(served: Any, key: str = "none") -> AsyncOpenAI:
    return AsyncOpenAI(base_url=url(served), api_key=key, max_retries=0)


def say(served: Any, submit: Submit, text: bytes, finish: Finish | None = None, **more: Any) -> None:
    """All of a text at once, by turns spoken by all who can; an END closes one that stops."""
    tokens = [*text, *([END] if finish is Finish.STOP else [])]
    speakers = [list(Speaker)[n % 3] for n in range(len(tokens))]
    logprobs: Sequence[Logprob] = []
    if submit.sampling.logprobs is not None:
        likeliest = [[token, *range(submit.sampling.logprobs - 1)] for token in tokens]
        logprobs = [
            Logprob(-0.5, tops[: submit.sampling.logprobs], [-0.5 - n for n in range(len(tops))])
            if submit.sampling.logprobs
            else Logprob(-0.5, [], [])
            for tops in likeliest
        ]
    served.router.say(
        Chunk(submit.session, 0, tokens, speakers, finish=finish, logprobs=list(logprobs), **more)
    )


async def answered(
    served: Any, asking: Awaitable[T], text: bytes = b"ok", finish: Finish = Finish.STOP
) -> tuple[T, Submit]:
    """What a client is answered, and what the router was asked for."""
    task = asyncio.ensure_future(asking)
    submitted = asyncio.ensure_future(served.router.submitted())
    await asyncio.wait((task, submitted), return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        submitted.cancel()
        return await task, None  # type: ignore[return-value]
    submit = await submitted
    say(served, submit, text, finish)
    return await task, submit


async def posted(served: Any, path: str, body: Any, **headers: str) -> tuple[int, Any, Any]:
    """What a plain HTTP client is answered: status, headers, JSON."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"} | headers
    async with (
        aiohttp.ClientSession() as session,
        session.post(url(served, path), data=data, headers=headers) as response,
    ):
        return response.status, response.headers, await response.json()
