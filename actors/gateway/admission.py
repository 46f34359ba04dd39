"""Who may come in by which port: certificates and keys, as the configuration says."""

import ssl

import grpc.aio
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from ringroad.actors.gateway.certificates import Certificates
from ringroad.actors.gateway.config import GatewayConfig
from ringroad.actors.gateway.keys import FileKeys, Forbidden, Keys, NoKeys, Scope, Unauthenticated


class Admission:
    """One for all doors of a gateway."""

    def __init__(self, config: GatewayConfig) -> None:
        """Raises ValueError for keys or certificates that cannot be read."""
        self.keys: Keys = NoKeys() if config.keys_file is None else FileKeys(config.keys_file)
        self._certificates = None if config.tls is None else Certificates(config.tls)
        self._asks_clients = config.tls is not None and config.tls.client_ca is not None

    def bind(self, server: grpc.aio.Server, address: str) -> int:
        """The port. Raises RuntimeError where it is taken."""
        if self._certificates is None:
            return server.add_insecure_port(address)
        return server.add_secure_port(address, self._certificates.grpc())

    def tls(self) -> ssl.SSLContext | None:
        """For a public HTTP port."""
        return None if self._certificates is None else self._certificates.web()

    def admin_tls(self) -> ssl.SSLContext | None:
        """Likewise, where those come by, too, who have no certificate; `guard` looks for that."""
        return None if self._certificates is None else self._certificates.web(strict=False)

    def guard(self, scope: Scope, *, free: frozenset[str]) -> Middleware:
        """Of an HTTP port: lets nobody by without a key of this scope, and a certificate where those are
        asked for; but everybody to the paths `free`."""

        @web.middleware
        async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
            if request.path not in free:
                if self._asks_clients and not _certified(request):
                    raise web.HTTPForbidden(text="a client certificate is needed\n")
                try:
                    self.keys.tenant(request.headers.get("Authorization"), scope)
                except Unauthenticated as error:
                    asks = {"WWW-Authenticate": "Bearer"}
                    raise web.HTTPUnauthorized(text=f"{error}\n", headers=asks) from None
                except Forbidden as error:
                    raise web.HTTPForbidden(text=f"{error}\n") from None
            return await handler(request)

        return guarded


def _certified(request: web.Request) -> bool:
    return request.transport is not None and bool(request.transport.get_extra_info("peercert"))
