"""What only operators and their machines ask a gateway, over HTTP on a port of its own."""

from aiohttp import web

from ringroad.actors.gateway.peers import Peers

PROBES = frozenset({"/livez", "/readyz"})


class Admin:
    """Probes, which whoever can reach the port may ask for; all else is for keys of the scope `admin`."""

    def __init__(self, peers: Peers) -> None:
        self._peers = peers

    @property
    def routes(self) -> list[web.RouteDef]:
        """Of `Web`."""
        return [web.get("/livez", self._live), web.get("/readyz", self._ready)]

    async def _live(self, request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _ready(self, request: web.Request) -> web.Response:
        if self._peers.ready:
            return web.Response(text="ok\n")
        return web.Response(status=503, text="no verifier is known\n")
