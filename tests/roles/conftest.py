"""Ends of links that are closed again, and nothing left of them."""

import threading
from collections.abc import Iterator

import psutil
import pytest
import zmq

from ringroad.actors.channel import Pulse
from ringroad.actors.channel.hub import Hub
from ringroad.actors.channel.spoke import Spoke
from ringroad.actors.messages import Hello
from tests.roles.links import HOST, Locate, MakeSpoke


@pytest.fixture
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
