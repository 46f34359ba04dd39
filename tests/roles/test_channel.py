"""The channel: greetings, both directions, and what happens when the other end dies or falls silent."""

import asyncio
import queue
import socket
import threading
from collections.abc import Callable, Iterator, Sequence

import psutil
import pytest
import zmq

from ringroad.actors.channel import Pulse
from ringroad.actors.channel.async_spoke import AsyncSpoke
from ringroad.actors.channel.hub import Hub
from ringroad.actors.channel.lifeline import dealer, hold, new_name
from ringroad.actors.channel.spoke import Spoke
from ringroad.actors.gateway.link import LinkLost
from ringroad.actors.messages import Chunk, Close, Forgotten, Hello, Message, Roster, Welcome

HOST = "127.0.0.1"
PATIENT = Pulse(0.05, 60.0)  # under which nobody is lost by silence within a test
HASTY = Pulse(0.05, 0.3)

Locate = Callable[[], Sequence[str]]
MakeSpoke = Callable[[Locate, Pulse], Spoke]


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """Every test leaves the sockets, threads and file descriptors that it found."""
    zmq.Context.instance().socket(zmq.PAIR).close()  # what all share is there from now on
    process = psutil.Process()
    descriptors, threads = process.num_fds(), threading.active_count()
    yield
    assert threading.active_count() == threads
    wait = threading.Event()
    for _ in range(100):  # ZeroMQ closes its own in the background
        if process.num_fds() <= descriptors:
            return
        wait.wait(0.05)
    raise AssertionError(f"{process.num_fds() - descriptors} file descriptors are left")


@pytest.fixture
def hub(nothing_is_left: None) -> Iterator[Hub]:
    made = Hub(HOST)
    yield made
    made.close()


@pytest.fixture
def spoke(nothing_is_left: None) -> Iterator[MakeSpoke]:
    made: list[Spoke] = []

    def make(locate: Locate, pulse: Pulse) -> Spoke:
        made.append(Spoke(locate, lambda: Hello("drafter", "m"), ["core 1"], pulse))
        return made[-1]

    yield make
    for each in made:
        each.close()


def frames(hub: Hub) -> Iterator[tuple[bytes, Sequence[Message]]]:
    """What arrives; ends after some seconds."""
    for _ in range(100):
        yield from hub.receive(0.1)


def first(hub: Hub, wanted: type[Message] = Hello, besides: Sequence[bytes] = ()) -> tuple[bytes, Message]:
    """The next message of a kind; fails after some seconds."""
    for sender, messages in frames(hub):
        for message in messages:
            if isinstance(message, wanted) and sender not in besides:
                return sender, message
    raise AssertionError(f"no {wanted.__name__}")


def gone(hub: Hub) -> list[bytes]:
    """Whose death is noticed; fails after some seconds."""
    for _ in range(100):
        for _ in hub.receive(0.1):
            pass
        if found := list(hub.gone()):
            return found
    raise AssertionError("nobody's death was noticed")


def until(spoke: Spoke, wanted: object) -> bytes:
    """The link on which a frame, or None for its end, comes next; fails after some seconds."""
    while True:
        link, frame = spoke.inbox.get(timeout=10)
        if frame == wanted:
            return link


def test_a_spoke_greets_and_both_ways_carry(hub: Hub, spoke: MakeSpoke) -> None:
    role = spoke(lambda: [hub.address], PATIENT)
    sender, hello = first(hub)
    assert isinstance(hello, Hello)
    assert (hello.role, hello.model, hello.leaving) == ("drafter", "m", False)
    assert hello.memory_bytes > 1_000_000
    assert hello.place == ["core 1"]
    hub.send(sender, Welcome("r"))
    hub.send(sender, Close("s"))
    hub.flush()
    hub.send(sender, Close("t"))
    hub.flush()
    hub.flush()
    link, frame = role.inbox.get(timeout=5)
    assert frame == [Welcome("r"), Close("s")]
    assert role.inbox.get(timeout=5) == (link, [Close("t")])
    role.send(link, [Forgotten("s", 0), Forgotten("t", 1)])
    answer = next(messages for _, messages in frames(hub) if isinstance(messages[0], Forgotten))
    assert answer == [Forgotten("s", 0), Forgotten("t", 1)]


def test_who_leaves_says_so(hub: Hub, spoke: MakeSpoke) -> None:
    role = spoke(lambda: [hub.address], PATIENT)
    first(hub)
    role.leave()
    assert any(isinstance(m[0], Hello) and m[0].leaving for _, m in frames(hub))


def test_a_spoke_that_cannot_find_the_hub_tries_again(hub: Hub, spoke: MakeSpoke) -> None:
    with socket.create_server((HOST, 0)) as free:
        nobody = f"{HOST}:{free.getsockname()[1]}"
    places = iter([RuntimeError("no router yet"), TimeoutError(), [nobody]])

    def locate() -> Sequence[str]:
        for place in places:
            if isinstance(place, Exception):
                raise place
            return place
        return [hub.address]

    spoke(locate, PATIENT)
    assert isinstance(first(hub)[1], Hello)


def test_both_ends_notice_a_death_by_its_connection(hub: Hub, spoke: MakeSpoke) -> None:
    role = spoke(lambda: [hub.address], PATIENT)
    sender, _ = first(hub)
    role.close()
    assert gone(hub) == [sender]
    role = spoke(lambda: [hub.address], PATIENT)
    sender, _ = first(hub)
    hub.send(sender, Close("s"))
    hub.flush()
    link = until(role, [Close("s")])
    hub.close()
    assert until(role, None) == link


def test_a_silent_hub_is_lost_and_met_again(hub: Hub, spoke: MakeSpoke) -> None:
    role = spoke(lambda: [hub.address], HASTY)
    old, _ = first(hub)
    until(role, None)
    assert gone(hub) == [old]
    new, _ = first(hub)
    assert new != old


def test_who_was_given_up_notices_and_is_heard_under_a_new_name_alone(hub: Hub, spoke: MakeSpoke) -> None:
    role = spoke(lambda: [hub.address], PATIENT)
    old, _ = first(hub)
    hub.send(old, Close("s"))
    hub.flush()
    link = until(role, [Close("s")])
    role.send(link, [Forgotten("s", 0)])  # on its way when it is given up
    hub.cut(old)
    assert until(role, None) == link
    role.send(link, [Forgotten("s", 1)])  # said before it noticed
    sender, messages = next(frames(hub))
    assert sender != old
    assert isinstance(messages[0], Hello)


def test_a_spoke_has_a_link_to_every_hub(spoke: MakeSpoke) -> None:
    hubs = [Hub(HOST), Hub(HOST)]
    role = spoke(lambda: [each.address for each in hubs], PATIENT)
    links = []
    for number, each in enumerate(hubs):
        sender, _ = first(each)
        each.send(sender, Close(str(number)))
        each.flush()
        links.append(until(role, [Close(str(number))]))
    for number, each in enumerate(hubs):
        role.send(links[number], [Forgotten(str(number), 0)])
        assert first(each, Forgotten)[1] == Forgotten(str(number), 0)
    hubs[0].close()
    assert until(role, None) == links[0]
    role.send(links[0], [Forgotten("lost", 0)])
    role.send(links[1], [Forgotten("kept", 0)])
    assert first(hubs[1], Forgotten)[1] == Forgotten("kept", 0)
    hubs[1].close()


def test_bytes_that_are_no_message_harm_nobody(hub: Hub, spoke: MakeSpoke) -> None:
    role = spoke(lambda: [hub.address], PATIENT)
    sender, _ = first(hub)
    hub._socket.send_multipart((sender, b"\xc1 no message"))
    hub.send(sender, Close("s"))
    hub.flush()
    until(role, [Close("s")])
    name = new_name()
    with socket.create_connection(hub._lifelines._listener.getsockname()) as mute:
        mute.sendall(b"no name")
        lines: list[tuple[socket.socket, str]] = []
        holding = threading.Thread(target=lambda: lines.append(hold(hub.address, name, 10.0)))
        holding.start()
        while holding.is_alive():
            assert first(hub, besides=[name])[0] == sender
        stranger = dealer(zmq.Context.instance(), name)
        stranger.connect(lines[0][1])
        stranger.send(b"\xc1 no message")
        assert first(hub)[0] == sender
        stranger.close(linger=0)
        lines[0][0].close()
        assert gone(hub) == [name]
    with pytest.raises(queue.Empty):
        role.inbox.get_nowait()


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
