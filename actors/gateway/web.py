"""An HTTP server on the gateway's event loop."""

from collections.abc import Sequence
from ssl import SSLContext

from aiohttp import web
from aiohttp.typedefs import Middleware

_FLUSH_SECONDS = 1.0  # for last words to reach their clients


class Web:
    """One port and what is served there. A handler is cancelled when its client leaves."""

    def __init__(
        self,
        routes: Sequence[web.RouteDef],
        host: str,
        port: int,
        *,
        most_bytes: int,
        middlewares: Sequence[Middleware] = (),
        tls: SSLContext | None = None,
    ) -> None:
        """port: 0 for any free one. most_bytes: that a request's body may have."""
        self.port = port
        self._host = host
        self._tls = tls
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
        site = web.TCPSite(self._runner, self._host, self.port, reuse_port=False, ssl_context=self._tls)
        try:
            await site.start()
        except OSError as error:
            await self._runner.cleanup()
            raise RuntimeError(f"{self._host}:{self.port}: {error}") from error
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Takes no more requests and ends those that run."""
        await self._runner.cleanup()
