"""The channel: greetings, both directions, and what happens when the other end is not where it was."""

import asyncio
import queue
from collections.abc import Callable, Iterator, Sequence

import pytest
import zmq

from ringroad.actors import channel
from ringroad.actors.channel import AsyncSpoke, Hub, Spoke
from ringroad.actors.gateway.link import LinkLost
from ringroad.actors.messages import Chunk, Close, Forgotten, Hello, Message, Roster, Welcome

HOST = "127.0.0.1"


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel, "HEARTBEAT_SECONDS", 0.05)
    monkeypatch.setattr(channel, "SILENT_SECONDS", 0.3)


@pytest.fixture
def hub() -> Iterator[Hub]:
    made = Hub(HOST)
    yield made
    made.close()


@pytest.fixture
def spoke() -> Iterator[Callable[[Callable[[], str]], Spoke]]:
    made: list[Spoke] = []

    def make(locate: Callable[[], str]) -> Spoke:
        made.append(Spoke(locate, lambda: Hello("drafter", "m"), ["core 1"]))
        return made[-1]

    yield make
    for each in made:
        each.close()


def frames(hub: Hub) -> Iterator[tuple[bytes, Sequence[Message]]]:
    """What arrives; ends after some seconds."""
    for _ in range(100):
        yield from hub.receive(0.1)


def first(hub: Hub, wanted: type[Message] = Hello) -> tuple[bytes, Message]:
    """The next message of a kind; fails after some seconds."""
    for sender, messages in frames(hub):
        for message in messages:
            if isinstance(message, wanted):
                return sender, message
    raise AssertionError(f"no {wanted.__name__}")


def test_a_spoke_greets_and_both_ways_carry(hub: Hub, spoke: Callable[[Callable[[], str]], Spoke]) -> None:
    role = spoke(lambda: hub.address)
    sender, hello = first(hub)
    assert isinstance(hello, Hello)
    assert (hello.role, hello.model) == ("drafter", "m")
    assert hello.memory_bytes > 1_000_000
    assert hello.place == ["core 1"]
    hub.send(sender, Welcome("r"))
    hub.send(sender, Close("s"))
    hub.flush()
    hub.send(sender, Close("t"))
    hub.flush()
    hub.flush()
    assert [role.inbox.get(timeout=5), role.inbox.get(timeout=5)] == [
        [Welcome("r"), Close("s")],
        [Close("t")],
    ]
    role.send([Forgotten("s", 0), Forgotten("t", 1)])
    frame = next(messages for _, messages in frames(hub) if isinstance(messages[0], Forgotten))
    assert frame == [Forgotten("s", 0), Forgotten("t", 1)]


def test_a_spoke_that_cannot_find_the_hub_tries_again(
    hub: Hub, spoke: Callable[[Callable[[], str]], Spoke]
) -> None:
    failures = iter([RuntimeError("no router yet"), TimeoutError()])

    def locate() -> str:
        for failure in failures:
            raise failure
        return hub.address

    spoke(locate)
    assert isinstance(first(hub)[1], Hello)


def test_a_spoke_follows_the_hub_to_another_place(spoke: Callable[[Callable[[], str]], Spoke]) -> None:
    old, new = Hub(HOST), Hub(HOST)
    addresses = iter([old.address, new.address, new.address])
    spoke(lambda: next(addresses, new.address))
    first(old)
    old.close()
    assert isinstance(first(new)[1], Hello)
    new.close()


def test_bytes_that_are_no_message_harm_nobody(hub: Hub, spoke: Callable[[Callable[[], str]], Spoke]) -> None:
    role = spoke(lambda: hub.address)
    sender, _ = first(hub)
    hub._socket.send_multipart((sender, b"\xc1 no message"))
    hub.send(sender, Close("s"))
    hub.flush()
    assert role.inbox.get(timeout=5) == [Close("s")]
    stranger = zmq.Context.instance().socket(zmq.DEALER)
    stranger.connect(hub.address)
    stranger.send(b"\xc1 no message")
    assert isinstance(first(hub)[1], Hello)
    stranger.close(linger=0)
    with pytest.raises(queue.Empty):
        role.inbox.get_nowait()


def test_a_gateway_hears_loses_and_finds_the_hub_under_a_new_name(hub: Hub) -> None:
    async def life() -> None:
        places: list[str | Exception] = [RuntimeError("not yet"), hub.address, hub.address]

        async def locate() -> str:
            place = places.pop(0)
            if isinstance(place, Exception):
                raise place
            return place

        link = AsyncSpoke(locate)
        with pytest.raises(LinkLost, match="not yet"):
            await link.receive()
        with pytest.raises(LinkLost):
            await link.send(Hello("gateway"))
        names: list[bytes] = []
        for _ in range(2):
            hearing = asyncio.create_task(link.receive())
            while (sender := (await asyncio.to_thread(first, hub))[0]) in names:
                pass  # a greeting from before the silence
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
