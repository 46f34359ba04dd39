"""An HTTP server on the gateway's event loop."""

import asyncio
from collections.abc import Callable, Sequence
from ssl import SSLContext

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from ringroad.actors.errors import RingroadError
from ringroad.actors.gateway.connection import Connection
from ringroad.actors.gateway.limits import Limits
from ringroad.actors.tracing import called

_FLUSH_SECONDS = 1.0  # for last words to reach their clients


def watched(refused: Callable[[RingroadError], None]) -> Middleware:
    """Inside what makes answers of errors: `refused` is told them, and spans begin below the client's own."""

    @web.middleware
    async def watch(request: web.Request, handler: Handler) -> web.StreamResponse:
        called(request.headers.get("traceparent", ""))
        try:
            return await handler(request)
        except RingroadError as error:
            refused(error)
            raise

    return watch


class Web:
    """One port and what is served there. A handler is cancelled when its client leaves."""

    def __init__(
        self,
        routes: Sequence[web.RouteDef],
        host: str,
        port: int,
        *,
        most_bytes: int,
        limits: Limits,
        middlewares: Sequence[Middleware] = (),
        tls: SSLContext | None = None,
    ) -> None:
        """port: 0 for any free one. most_bytes: that a request's body may have. Who reads a body gets
        HTTPRequestEntityTooLarge for a larger one, and HTTPRequestTimeout for one that comes too slowly."""
        self.port = port
        self._host = host
        self._tls = tls
        self._limits = limits
        app = web.Application(middlewares=middlewares, client_max_size=most_bytes)
        app.add_routes(routes)
        self._runner = web.AppRunner(
            app,
            access_log=None,
            handle_signals=False,
            handler_cancellation=True,
            shutdown_timeout=_FLUSH_SECONDS,
        )

    async def start(self) -> None:
        """Binds and serves. Raises RuntimeError when the port is taken."""
        await self._runner.setup()
        site = _Site(self._runner, self._host, self.port, self._limits, self._tls)
        try:
            await site.start()
        except OSError as error:
            await self._runner.cleanup()
            raise RuntimeError(f"{self._host}:{self.port}: {error}") from error
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Takes no more requests and ends those that run."""
        await self._runner.cleanup()


class _Site(web.BaseSite):
    """A port whose connections have limits."""

    def __init__(
        self, runner: web.AppRunner, host: str, port: int, limits: Limits, tls: SSLContext | None
    ) -> None:
        super().__init__(runner, ssl_context=tls)
        self._where = host, port
        self._limits = limits

    @property
    def name(self) -> str:
        """Of aiohttp's own use."""
        return "http://{}:{}".format(*self._where)

    async def start(self) -> None:
        """Binds. Raises OSError."""
        await super().start()
        server = self._runner.server
        assert server is not None
        self._server = await asyncio.get_running_loop().create_server(
            lambda: Connection(server, self._limits, access_log=None),
            *self._where,
            ssl=self._ssl_context,
            reuse_port=False,
            ssl_handshake_timeout=None if self._ssl_context is None else self._limits.header_seconds,
        )
