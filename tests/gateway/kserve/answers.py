"""A router that answers by itself."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from ringroad.actors.messages import Finish, Submit


@asynccontextmanager
async def answering(served: Any) -> AsyncIterator[list[Submit]]:
    """A router that says every prompt backwards, in two pieces; what it was asked."""
    submits: list[Submit] = []

    async def answer() -> None:
        while True:
            submit = await served.router._submits.get()
            submits.append(submit)
            text = submit.prompt[::-1]
            served.router.tokens(submit, 0, text[:2])
            served.router.end(submit, len(text[:2]), Finish.STOP, text[2:])

    task = asyncio.create_task(answer())
    try:
        yield submits
    finally:
        task.cancel()
