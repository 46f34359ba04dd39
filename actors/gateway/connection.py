"""An HTTP connection with limits: aiohttp bounds neither the time nor the sum of a request's headers."""

import asyncio
import logging
from typing import Any

from aiohttp import StreamReader, web
from aiohttp.web_protocol import RequestHandler

from ringroad.actors.errors import traced
from ringroad.actors.gateway.limits import Limits

_log = logging.getLogger(__name__)
_END = b"\r\n\r\n"  # of headers
_LAST_WORDS = b"HTTP/1.1 %s\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
_LATE = b"408 Request Timeout"
_LARGE = b"431 Request Header Fields Too Large"
_CROWDED = b"503 Service Unavailable"


class Connection(RequestHandler):
    """Closed with a status where headers are too long, come too slowly, or there are too many of its kind."""

    __slots__ = ("_body", "_headers", "_limits", "_tail", "_timer")

    def __init__(self, server: web.Server, limits: Limits, **options: Any) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=limits.idle_seconds,
            max_line_size=limits.header_bytes,
            max_field_size=limits.header_bytes,
            **options,
        )
        self._limits = limits
        self._headers = 0  # bytes of the headers that come now
        self._tail = b""  # of these the last, where their end may have begun
        self._timer: asyncio.TimerHandle | None = None  # until headers are late
        self._body: asyncio.TimerHandle | None = None  # likewise, a body

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if self._manager is not None and len(self._manager.connections) > self._limits.connections:
            self._refuse(_CROWDED)
        else:
            self._wait()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._arrived()
        self._watch(None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._expecting and data:
            self._wait()
            end = (self._tail + data).find(_END)
            self._headers += len(data) if end < 0 else end - len(self._tail)
            self._tail = (self._tail + data)[1 - len(_END) :]
            if self._headers > self._limits.header_bytes:
                self._refuse(_LARGE)
                return
        super().data_received(data)
        if not self._expecting:
            self._arrived()
            if self._messages:
                self._watch(self._messages[-1][1])

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """Without the exception's own words: they may quote a user's text."""
        error = kw.get("exc_info")
        if not isinstance(error, web.HTTPException):  # of a body that nobody reads to its end
            _log.error("a request failed with %s", traced(error))

    @property
    def _expecting(self) -> bool:
        """Whether what comes next is a request's headers, or more of them."""
        if self._request_count == 0:
            return True
        return self._waiter is not None and not self._waiter.done()

    def _wait(self) -> None:
        if self._timer is None:
            seconds = self._limits.header_seconds
            self._timer = asyncio.get_running_loop().call_later(seconds, self._refuse, _LATE)

    def _arrived(self) -> None:
        self._headers, self._tail = 0, b""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _watch(self, body: StreamReader | None) -> None:
        if self._body is not None:
            self._body.cancel()
            self._body = None
        if body is not None and not body.is_eof():
            late = web.HTTPRequestTimeout()  # for who reads it
            seconds = self._limits.body_seconds
            self._body = asyncio.get_running_loop().call_later(seconds, _give_up, body, late)

    def _refuse(self, status: bytes) -> None:
        self._arrived()
        if isinstance(self.transport, asyncio.Transport):
            self.transport.write(_LAST_WORDS % status)
        self.force_close()


def _give_up(body: StreamReader, why: Exception) -> None:
    if not body.is_eof():
        body.set_exception(why)
