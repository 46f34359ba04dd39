"""Which cores or device a role says it computes on."""

import os
import socket

import pytest

from ringroad.actors.drafter.config import DrafterConfig
from ringroad.actors.verifier.config import VerifierConfig
from ringroad.cluster.roles import place

HOST = socket.gethostname()


def test_cores_that_are_set_are_the_place() -> None:
    assert place(VerifierConfig(model="m", cores=[3, 5])) == [f"{HOST} core 3", f"{HOST} core 5"]


def test_without_any_it_is_all_that_there_are() -> None:
    assert place(DrafterConfig()) == [f"{HOST} core {core}" for core in sorted(os.sched_getaffinity(0))]


def test_devices_are_told_apart_by_what_ray_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    places = []
    for shown in ("0", "1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", shown)
        places.append(place(VerifierConfig(model="m", device="cuda")))
    assert places[0] != places[1]
    assert set(places[0]).isdisjoint(place(DrafterConfig()))
