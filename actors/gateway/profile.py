"""What the gateway's event loop spends its time with, looked at for some seconds."""

import asyncio

from pyinstrument import Profiler
from pyinstrument.renderers import ConsoleRenderer, HTMLRenderer, SpeedscopeRenderer

MOST_SECONDS = 60.0
KINDS = {  # what a profile can be shown as, and the content type of that
    "text": (ConsoleRenderer(unicode=True), "text/plain"),
    "html": (HTMLRenderer(), "text/html"),
    "speedscope": (SpeedscopeRenderer(), "application/json"),
}
_INTERVAL_SECONDS = 0.001  # between two samples


class Busy(Exception):
    """Somebody else looks."""


class Profile:
    """Of the thread of the running loop, one at a time. Nothing costs anything while nobody looks."""

    def __init__(self) -> None:
        self._looking = False

    async def of(self, seconds: float, kind: str) -> str:
        """Looks for so many seconds. Raises Busy."""
        if self._looking:
            raise Busy
        self._looking = True
        profiler = Profiler(_INTERVAL_SECONDS, async_mode="disabled")  # every task, not only this one
        try:
            profiler.start()
            try:
                await asyncio.sleep(seconds)
            finally:
                profiler.stop()
            return await asyncio.to_thread(profiler.output, KINDS[kind][0])
        finally:
            self._looking = False
