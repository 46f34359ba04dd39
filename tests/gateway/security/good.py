"""A good client, whose text goes on whatever a bad one does beside it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from ringroad.v1 import inference_pb2

SECONDS = 10.0


@asynccontextmanager
async def good_stream(served: Any) -> AsyncIterator[Callable[[], Any]]:
    """A stream that goes on meanwhile; within, call it to hear one more token."""
    call = served.inference.Generate(inference_pb2.GenerateRequest(prompt="hi"), metadata=served.metadata)
    submit = await served.router.submitted()
    said = 0

    async def goes_on() -> None:
        nonlocal said
        served.router.tokens(submit, said, b"a")
        said += 1
        response = await asyncio.wait_for(call.read(), SECONDS)
        assert response.delta.text == "a"

    await goes_on()
    yield goes_on
    await goes_on()
    call.cancel()
