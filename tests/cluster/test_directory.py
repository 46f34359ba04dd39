"""Where the routers are, as they said."""

import threading
from dataclasses import dataclass

from ringroad.cluster.directory import LEASE_SECONDS, Directory, Entry


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_router_is_listed_for_as_long_as_it_says_so() -> None:
    clock = Clock()
    directory = Directory(clock)
    directory.here("a")
    clock.now = 0.9 * LEASE_SECONDS
    directory.here("b")
    assert directory.routers() == ["a", "b"]
    clock.now = 1.1 * LEASE_SECONDS
    assert directory.routers() == ["b"]
    directory.left("b")
    assert directory.routers() == []
    assert directory.in_turn() == []


def test_gateways_are_spread() -> None:
    directory = Directory()
    for address in "abc":
        directory.here(address)
    firsts = [directory.in_turn()[0] for _ in range(6)]
    assert sorted(firsts) == [*"aabbcc"]
    assert sorted(directory.in_turn()) == [*"abc"]


def test_where_a_gang_meets_is_said_by_one_and_told_to_others() -> None:
    directory = Directory()
    assert directory.meeting("g", "") == ""
    assert directory.meeting("g", "here:1") == "here:1"
    assert directory.meeting("g", "") == "here:1"
    assert directory.meeting("h", "") == ""


def test_an_entry_is_said_though_the_directory_fails_and_is_taken_out_at_its_end() -> None:
    words: list[str] = []
    said = threading.Event()

    def here() -> None:
        words.append("here")
        said.set()
        raise TimeoutError

    entry = Entry(here, lambda: words.append("left"))
    assert said.wait(10)
    entry.close()
    assert words[0] == "here"
    assert words[-1] == "left"
