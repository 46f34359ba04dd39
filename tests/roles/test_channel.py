"""The channel between hubs and roles: greetings, both directions, and an end that dies or falls silent."""

import queue
import socket
import threading
from collections.abc import Sequence

import pytest
import zmq

from ringroad.actors.channel.hub import Hub
from ringroad.actors.channel.lifeline import dealer, hold, new_name
from ringroad.actors.messages import Close, Forgotten, Hello, Welcome
from tests.roles.links import HASTY, HOST, PATIENT, MakeSpoke, first, frames, gone, until

pytestmark = pytest.mark.usefixtures("nothing_is_left")


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
