"""The HTTP ports: TLS, keys and scopes, headers and bodies that are too long or too slow."""

import asyncio
import ssl
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from ringroad.actors.gateway.admission import Admission
from ringroad.actors.gateway.config import GatewayConfig
from ringroad.actors.gateway.keys import Scope, new
from ringroad.actors.gateway.limits import Limits
from ringroad.actors.gateway.web import Web
from ringroad.cluster.certs import Pair
from tests.gateway.keyring import ALL, entry, expired
from tests.gateway.security.certified import Folder, Shown

SECONDS = 10.0
SOON = 1.5  # that the bad are waited for: the good are faster, on a crowded machine too
HEAD = b"POST /say HTTP/1.1\r\nHost: a\r\n"


class Site:
    """A port that gives back what it is told, guarded like the admin port."""

    def __init__(self, config: GatewayConfig, limits: Limits, *, most_bytes: int = 1000) -> None:
        admission = Admission(config)
        self.entered = asyncio.Event()
        self.web = Web(
            [web.post("/say", self._say), web.get("/livez", self._live)],
            "127.0.0.1",
            0,
            most_bytes=most_bytes,
            limits=limits,
            middlewares=[admission.guard(Scope.ADMIN, free=frozenset({"/livez"}))],
            tls=admission.admin_tls(),
        )

    async def __aenter__(self) -> "Site":
        await self.web.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.web.stop()

    async def _say(self, request: web.Request) -> web.Response:
        self.entered.set()
        return web.Response(body=await request.read())

    async def _live(self, request: web.Request) -> web.Response:
        return web.Response(text="ok")

    async def raw(self, *pieces: bytes) -> bytes:
        """What a connection is told that sends these and then waits to be closed."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.web.port)
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        async with asyncio.timeout(SECONDS):
            try:
                return await reader.read()
            except ConnectionResetError:
                return b""
            finally:
                writer.close()

    async def good(self, key: str = "", context: ssl.SSLContext | None = None) -> int:
        """The status of a request nothing is wrong with."""
        url = f"{'https' if context else 'http'}://127.0.0.1:{self.web.port}/say"
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        connector = aiohttp.TCPConnector(ssl=context) if context else None
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.post(url, data=b"hi", headers=headers) as response,
        ):
            return response.status


def site(limits: Limits | None = None, **settings: Any) -> Site:
    return Site(GatewayConfig(**settings), Limits() if limits is None else limits)


@pytest.mark.parametrize(
    "headers",
    [
        b"X-Long: " + b"x" * 10_000 + b"\r\n",
        b"".join(b"X-%d: %s\r\n" % (i, b"x" * 90) for i in range(100)),  # each of them is short
    ],
)
@pytest.mark.parametrize("size", [100_000, 7])
async def test_ten_thousand_header_bytes_are_too_many(headers: bytes, size: int) -> None:
    request = HEAD + headers + b"\r\n"
    pieces = [request[at : at + size] for at in range(0, len(request), size)]
    async with site() as here:
        bad = asyncio.create_task(here.raw(*pieces))
        assert await here.good() == 200
        assert (await bad).startswith(b"HTTP/1.1 431 ")
        assert await here.good() == 200


async def test_headers_up_to_the_limit_are_read() -> None:
    async with site(Limits(header_bytes=300)) as here:
        for length, status in ((200, b"200"), (300, b"431")):
            filler = (
                b"X: " + b"x" * (length - len(HEAD) - 40) + b"\r\nContent-Length: 2\r\nConnection: close\r\n"
            )
            for size in (1, 1000):
                whole = HEAD + filler + b"\r\nhi"
                told = await here.raw(*(whole[at : at + size] for at in range(0, len(whole), size)))
                assert told.split()[1] == status


@pytest.mark.parametrize("begun", [b"", b"POST", HEAD, HEAD + b"X-More: a\r\n"])
async def test_who_does_not_end_its_headers_is_not_waited_for(begun: bytes) -> None:
    async with site(Limits(header_seconds=SOON)) as here:
        bad = [asyncio.create_task(here.raw(begun)) for _ in range(20)]
        assert await here.good() == 200
        for told in await asyncio.gather(*bad):
            assert told.startswith(b"HTTP/1.1 408 ")
        assert await here.good() == 200


async def test_a_slow_loris_is_shed_though_it_never_pauses() -> None:
    async with site(Limits(header_seconds=SOON)) as here:
        reader, writer = await asyncio.open_connection("127.0.0.1", here.web.port)
        writer.write(HEAD)

        async def trickle() -> None:
            while True:
                writer.write(b"X: y\r\n")
                await asyncio.sleep(0.02)

        drops = asyncio.create_task(trickle())
        async with asyncio.timeout(SECONDS):
            assert (await reader.readline()).startswith(b"HTTP/1.1 408 ")
        drops.cancel()
        writer.close()
        assert await here.good() == 200


@pytest.mark.parametrize(("later", "status"), [(HEAD, b"408"), (HEAD + b"X: " + b"x" * 9000, b"431")])
async def test_headers_of_a_later_request_have_limits_too(later: bytes, status: bytes) -> None:
    async with site(Limits(header_seconds=SOON)) as here:
        reader, writer = await asyncio.open_connection("127.0.0.1", here.web.port)
        async with asyncio.timeout(SECONDS):
            writer.write(HEAD + b"Content-Length: 2\r\n\r\nhi")
            assert (await reader.readuntil(b"\r\n\r\nhi")).startswith(b"HTTP/1.1 200 ")
            writer.write(later)
            assert (await reader.read()).split()[1] == status
        writer.close()


async def test_a_body_is_no_header() -> None:
    """Long ones, and in pieces, as far as bodies may be long."""
    config = GatewayConfig()
    async with Site(config, Limits(header_bytes=500), most_bytes=100_000) as here:
        body = b"x" * 50_000
        head = HEAD + b"Content-Length: 50000\r\nConnection: close\r\n\r\n"
        for pieces in ([head + body], [head, *(body[at : at + 999] for at in range(0, 50_000, 999))]):
            assert (await here.raw(*pieces)).endswith(body)


async def test_a_body_is_bounded_in_size_and_time() -> None:
    async with site(Limits(body_seconds=SOON)) as here:
        large = HEAD + b"Content-Length: 2000\r\nConnection: close\r\n\r\n" + b"x" * 2000
        assert (await here.raw(large)).startswith(b"HTTP/1.1 413 ")
        slow = asyncio.create_task(here.raw(HEAD + b"Content-Length: 900\r\n\r\nx"))
        assert await here.good() == 200
        assert (await slow).startswith(b"HTTP/1.1 408 ")
        assert await here.good() == 200


async def test_connections_are_bounded() -> None:
    async with site(Limits(connections=3)) as here:
        held = [await asyncio.open_connection("127.0.0.1", here.web.port) for _ in range(3)]
        assert (await here.raw(HEAD)).startswith(b"HTTP/1.1 503 ")
        for _, writer in held:
            writer.close()
            await writer.wait_closed()
        async with asyncio.timeout(SECONDS):
            while await here.good() != 200:
                pass


@pytest.mark.parametrize("case", ["none", "wrong", "revoked", "expired", "scope"])
async def test_the_admin_port_asks_for_a_key(tmp_path: Path, case: str) -> None:
    path = tmp_path / "keys.toml"
    (good, known), (old, gone), (late, over) = new("acme", ALL), new("acme", ALL), expired()
    narrow, single = new("acme", ALL - {Scope.ADMIN})
    path.write_text(entry(known) + entry(gone, revoked=True) + entry(over) + entry(single))
    bad = {"none": "", "wrong": new("a", ALL)[0], "revoked": old, "expired": late, "scope": narrow}[case]
    async with site(keys_file=path) as here:
        assert await here.good(good) == 200
        here.entered.clear()
        assert await here.good(bad) == (403 if case == "scope" else 401)
        assert not here.entered.is_set()
        assert await here.good(good) == 200
        assert b" 200 " in await here.raw(b"GET /livez HTTP/1.0\r\n\r\n")


async def test_certificates_of_http_change_without_a_restart(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    old = folder.shown().ssl
    async with site(tls=folder.config()) as here:
        assert await here.good(context=old) == 200
        folder.renew(Pair.authority("renewed"))
        new = folder.shown().ssl
        assert await here.good(context=new) == 200
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await here.good(context=old)
        trusting = ssl.create_default_context(cafile=tmp_path / "ca.pem")
        Pair.authority("strangers").client("bad").write(tmp_path / "bad")
        trusting.load_cert_chain(tmp_path / "bad.pem", tmp_path / "bad.key")
        with pytest.raises(aiohttp.ClientError):
            await here.good(context=trusting)
        assert await here.good(context=new) == 200


async def test_probes_need_no_certificate_and_all_else_does(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    async with site(tls=folder.config()) as here:
        assert await here.good(context=Shown(tmp_path).ssl) == 403
        assert await here.good(context=folder.shown().ssl) == 200
        url = f"https://127.0.0.1:{here.web.port}/livez"
        connector = aiohttp.TCPConnector(ssl=Shown(tmp_path).ssl)
        async with aiohttp.ClientSession(connector=connector) as session, session.get(url) as response:
            assert response.status == 200
        with pytest.raises(aiohttp.ClientError):
            await here.good(context=folder.show("old", folder.authority.client("old", days=-1)).ssl)


async def test_the_public_port_asks_for_a_certificate(serving: Any, tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    async with serving(tls=folder.config(), credentials=folder.shown().grpc, http_port=0) as served:
        url = f"https://127.0.0.1:{served.gateway.http_port}/v1/models"
        for shown, fine in ((Shown(tmp_path), False), (folder.shown(), True)):
            connector = aiohttp.TCPConnector(ssl=shown.ssl)
            async with aiohttp.ClientSession(connector=connector) as session:
                if fine:
                    assert (await session.get(url)).status == 200
                else:
                    with pytest.raises(aiohttp.ClientError):
                        await session.get(url)


async def test_a_handshake_that_does_not_end_is_not_waited_for(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    async with site(Limits(header_seconds=SOON), tls=folder.config()) as here:
        assert await here.raw(b"\x16\x03\x01") == b""
        assert await here.good(context=folder.shown().ssl) == 200


def test_an_admin_port_beyond_this_machine_needs_a_guard(tmp_path: Path) -> None:
    assert GatewayConfig(admin_host="0.0.0.0").admin_port is None
    with pytest.raises(ValueError, match="admin_host"):
        GatewayConfig(admin_host="0.0.0.0", admin_port=1)
    assert GatewayConfig(admin_host="0.0.0.0", admin_port=1, keys_file=tmp_path).admin_port == 1
    assert GatewayConfig(admin_port=1).admin_host == "127.0.0.1"
