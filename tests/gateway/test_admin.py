"""What operators ask over HTTP."""

import asyncio
import json
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


async def got(served: Any, path: str) -> tuple[int, str]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{served.gateway.admin_port}{path}") as response,
    ):
        return response.status, await response.text()


async def test_a_profile_shows_what_the_loop_does_and_streams_go_on(serving: Any) -> None:
    async with serving(admin_port=0) as served:
        look = asyncio.create_task(got(served, "/debug/profile?seconds=0.3&as=speedscope"))
        while not look.done():
            assert await served.complete() == "ok"
        status, text = look.result()
        assert status == 200
        names = {frame["name"] for frame in json.loads(text)["shared"]["frames"]}
        assert names & {"Generation.generate", "generate", "_generate", "Generation._generate", "guarded"}


async def test_one_looks_at_a_time_and_for_a_bounded_while(serving: Any) -> None:
    async with serving(admin_port=0) as served:
        looks = [asyncio.create_task(got(served, "/debug/profile?seconds=0.2")) for _ in range(2)]
        assert sorted([(await look)[0] for look in looks]) == [200, 409]
        for wrong in ("seconds=0", "seconds=61", "seconds=nan", "seconds=x", "as=pdf"):
            assert (await got(served, f"/debug/profile?{wrong}"))[0] == 400
        assert (await got(served, "/debug/profile?seconds=0.01"))[0] == 200
