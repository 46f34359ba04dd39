"""A gateway's end of the channel: one router at a time, and another when that one is gone or leaves."""

import asyncio
from collections.abc import Sequence

import pytest

from ringroad.actors.channel.async_spoke import AsyncSpoke
from ringroad.actors.channel.hub import Hub
from ringroad.actors.gateway.link import LinkLost
from ringroad.actors.messages import Chunk, Hello, Roster
from tests.roles.links import HASTY, HOST, PATIENT, first, gone

pytestmark = pytest.mark.usefixtures("nothing_is_left")


def test_a_gateway_hears_loses_and_finds_the_hub_under_a_new_name(hub: Hub) -> None:
    async def life() -> None:
        places: list[str | Exception] = [RuntimeError("not yet"), hub.address, hub.address]

        async def locate() -> Sequence[str]:
            place = places.pop(0)
            if isinstance(place, Exception):
                raise place
            return [place]

        link = AsyncSpoke(locate, HASTY)
        with pytest.raises(LinkLost, match="not yet"):
            await link.receive()
        with pytest.raises(LinkLost):
            await link.send(Hello("gateway"))
        names: list[bytes] = []
        for _ in range(2):
            hearing = asyncio.create_task(link.receive())
            sender, _ = await asyncio.to_thread(first, hub, Hello, names)
            hub.send(sender, Roster([]))
            hub.send(sender, Chunk("s", 0, [1], []))
            hub.flush()
            assert await hearing == Roster([])
            assert await link.receive() == Chunk("s", 0, [1], [])
            with pytest.raises(LinkLost, match="silent"):
                await link.receive()
            names.append(sender)
        link.close()

    asyncio.run(life())


async def greeted(hub: Hub, link: AsyncSpoke) -> bytes:
    """The name under which a gateway comes to this hub, and is answered."""
    hearing = asyncio.create_task(link.receive())
    sender, _ = await asyncio.to_thread(first, hub)
    hub.send(sender, Roster([]))
    hub.flush()
    assert await hearing == Roster([])
    return sender


def test_a_gateway_goes_to_another_hub_when_its_own_dies() -> None:
    async def life() -> None:
        hubs = [Hub(HOST), Hub(HOST)]
        asked: list[Sequence[str]] = [[each.address for each in hubs]]

        async def locate() -> Sequence[str]:
            return asked.pop()  # once: then it knows where to go

        link = AsyncSpoke(locate, PATIENT)
        sender = await greeted(hubs[0], link)
        hubs[0].send(sender, Chunk("s", 0, [1], []))
        hubs[0].flush()
        assert await link.receive() == Chunk("s", 0, [1], [])
        hearing = asyncio.create_task(link.receive())
        hubs[0].close()
        with pytest.raises(LinkLost, match="gone"):
            await hearing
        with pytest.raises(LinkLost):
            await link.send(Hello("gateway"))
        sender = await greeted(hubs[1], link)
        link.close()
        assert await asyncio.to_thread(gone, hubs[1]) == [sender]
        hubs[1].close()

    asyncio.run(life())


def test_a_gateway_leaves_a_hub_that_leaves_where_there_is_another() -> None:
    async def life() -> None:
        hubs = [Hub(HOST), Hub(HOST)]
        there = [hubs[0].address]

        async def locate() -> Sequence[str]:
            return there

        link = AsyncSpoke(locate, PATIENT)
        sender = await greeted(hubs[0], link)
        for token in (1, 2):
            hubs[0].send(sender, Roster([], leaving=True))
            hubs[0].send(sender, Chunk("s", 0, [token], []))
            hubs[0].flush()
            assert await link.receive() == Roster([], leaving=True)
            assert await link.receive() == Chunk("s", 0, [token], [])
            await asyncio.wait([link._move] if link._move else [])
        there.append(hubs[1].address)
        hubs[0].send(sender, Roster([], leaving=True))
        hubs[0].flush()
        assert await link.receive() == Roster([], leaving=True)
        moving = asyncio.create_task(link.receive())
        holding = asyncio.create_task(asyncio.to_thread(first, hubs[1]))
        with pytest.raises(LinkLost, match="leaving"):
            await moving
        assert await asyncio.to_thread(gone, hubs[0]) == [sender]
        hearing = asyncio.create_task(link.receive())
        sender, _ = await holding
        hubs[1].send(sender, Roster([]))
        hubs[1].flush()
        assert await hearing == Roster([])
        link.close()
        for each in hubs:
            each.close()

    asyncio.run(life())


def test_a_cancelled_gateway_is_cancelled(hub: Hub) -> None:
    """By whoever awaits it, not by the end of the link that it heard."""

    async def life() -> None:
        async def locate() -> Sequence[str]:
            return [hub.address]

        link = AsyncSpoke(locate, PATIENT)
        await greeted(hub, link)
        hearing = asyncio.create_task(link.receive())
        await asyncio.sleep(0)
        hearing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await hearing
        link.close()

    asyncio.run(life())


def test_what_comes_just_as_the_link_is_given_up_is_dropped(hub: Hub) -> None:
    """A gateway that was stopped wakes to a frame and to the silence that it missed, both at once."""

    async def life() -> None:
        async def locate() -> Sequence[str]:
            return [hub.address]

        link = AsyncSpoke(locate, PATIENT)
        sender = await greeted(hub, link)
        way = link._way
        assert way is not None
        heard = way.hub.recv

        async def recv() -> bytes:
            data = await heard()
            link._lose("the router is silent")
            return data

        way.hub.recv = recv
        hub.send(sender, Roster([]))
        hub.flush()
        with pytest.raises(LinkLost, match="silent"):
            await link.receive()
        await greeted(hub, link)
        link.close()

    asyncio.run(life())
