"""What only operators and their machines ask a gateway, over HTTP on a port of its own."""

import asyncio

from aiohttp import web

from ringroad.actors.gateway.metrics import Metrics
from ringroad.actors.gateway.peers import Peers
from ringroad.actors.gateway.profile import KINDS, MOST_SECONDS, Busy, Profile

PROBES = frozenset({"/livez", "/readyz"})


class Admin:
    """Probes, which whoever can reach the port may ask for; all else is for keys of the scope `admin`."""

    def __init__(self, peers: Peers, metrics: Metrics) -> None:
        self._peers = peers
        self._metrics = metrics
        self._profile = Profile()

    @property
    def routes(self) -> list[web.RouteDef]:
        """Of `Web`."""
        return [
            web.get("/livez", self._live),
            web.get("/readyz", self._ready),
            web.get("/metrics", self._tell),
            web.get("/debug/profile", self._look),
        ]

    async def _live(self, request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _ready(self, request: web.Request) -> web.Response:
        if self._peers.ready:
            return web.Response(text="ok\n")
        return web.Response(status=503, text="no verifier is known\n")

    async def _tell(self, request: web.Request) -> web.Response:
        # On a thread: some milliseconds, for which streams need not wait.
        text, kind = await asyncio.to_thread(self._metrics.text, request.headers.get("Accept", ""))
        return web.Response(body=text, headers={"Content-Type": kind})

    async def _look(self, request: web.Request) -> web.Response:
        seconds, kind = request.query.get("seconds", "5"), request.query.get("as", "text")
        try:
            if not 0 < float(seconds) <= MOST_SECONDS:
                raise ValueError
        except ValueError:
            return web.Response(status=400, text=f"seconds: above 0 and at most {MOST_SECONDS:g}\n")
        if kind not in KINDS:
            return web.Response(status=400, text=f"as: one of {', '.join(KINDS)}\n")
        try:
            text = await self._profile.of(float(seconds), kind)
        except Busy:
            return web.Response(status=409, text="somebody else looks\n")
        return web.Response(text=text, content_type=KINDS[kind][1])
