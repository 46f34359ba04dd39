"""Chat completions, as OpenAI's own client asks for them and reads them."""

import asyncio
from typing import Any

from openai import AsyncOpenAI

from ringroad.actors.messages import Finish

USER = [{"role": "user", "content": "hi"}]


def client(served: Any, **more: Any) -> AsyncOpenAI:
    url = f"http://127.0.0.1:{served.gateway.http_port}/v1"
    return AsyncOpenAI(base_url=url, api_key="none", max_retries=0, **more)


async def test_a_conversation_is_answered(serving: Any, helpers: Any) -> None:
    async with serving(http_port=0) as served, client(served) as ask:
        asking = asyncio.create_task(ask.chat.completions.create(model="toy", messages=USER))
        submit = await served.router.submitted()
        served.router.end(submit, 0, Finish.STOP, [*b"ok", helpers.END])
        answer = await asking
        assert answer.choices[0].message.content == "ok"
        assert answer.choices[0].finish_reason == "stop"
        assert answer.usage is not None
        assert answer.usage.completion_tokens == 3


async def test_a_conversation_is_answered_bit_by_bit(serving: Any, helpers: Any) -> None:
    async with serving(http_port=0) as served, client(served) as ask:
        asking = asyncio.create_task(ask.chat.completions.create(model="toy", messages=USER, stream=True))
        submit = await served.router.submitted()
        served.router.tokens(submit, 0, b"a")
        stream = await asking
        words = []
        async for chunk in stream:
            words.append(chunk.choices[0].delta.content)
            if words[-1] == "a":
                served.router.end(submit, 1, Finish.STOP, [*b"ok", helpers.END])
        assert words == ["", "a", "ok", None]
        assert chunk.choices[0].finish_reason == "stop"
