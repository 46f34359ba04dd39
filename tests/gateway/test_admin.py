"""What operators ask over HTTP."""

import socket
from typing import Any

import aiohttp
import pytest


async def status(served: Any, path: str) -> int:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{served.gateway.admin_port}{path}") as response,
    ):
        return response.status


async def test_a_gateway_lives_and_is_ready_while_a_verifier_is_known(serving: Any) -> None:
    async with serving(admin_port=0) as served:
        assert await status(served, "/livez") == 200
        assert await status(served, "/readyz") == 200
        served.router.lose()
        await served.router_lost()
        assert await status(served, "/readyz") == 503
        assert await status(served, "/livez") == 200


async def test_there_is_no_port_that_nobody_asked_for(serving: Any) -> None:
    async with serving() as served:
        assert served.gateway.admin_port is None


async def test_a_taken_port_is_named_and_nothing_stays_bound(serving: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(RuntimeError, match=str(port)):
            async with serving(admin_port=port):
                pass
