"""Tenants that share a gateway: whoever floods it waits for himself."""

from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from hypothesis import given, settings
from hypothesis import strategies as st

from ringroad.actors.errors import TooBusy
from ringroad.actors.gateway import places as places_module
from ringroad.actors.gateway.fair import Flow, Line
from ringroad.actors.gateway.places import Places
from ringroad.actors.messages import Finish
from ringroad.v1.inference_pb2 import GenerateRequest
from tests.gateway.keyring import ring

FLOOD, OTHER = Flow("flood"), Flow("other")


class Stopped:
    """A clock that stands still."""

    def time(self) -> float:
        return 0.0


@pytest.fixture(autouse=True)
def no_time_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places_module.asyncio, "get_running_loop", Stopped)


class Room:
    """Places, and who was placed and refused in them, in order."""

    def __init__(self, *sizes: int) -> None:
        self.places = Places(*sizes)
        self.placed: list[str] = []
        self.refused: list[str] = []

    def asks(self, who: str, flow: Flow, tokens: int = 10) -> bool:
        try:
            self.places.check(flow, None)
        except TooBusy:
            return False
        told = partial(self.placed.append, who), lambda error: self.refused.append(who)
        self.places.enter(who, flow, tokens, *told)
        return True


def test_who_comes_rarely_need_not_wait_for_a_place() -> None:
    room = Room(4, 8, 2)
    room.places._line = Line(saved=0.0)
    for n in range(20):
        assert room.asks(f"f{n}", FLOOD) == (n < 12)  # nothing is spared for who has his share
    assert room.asks("a", OTHER)
    assert room.placed == ["f0", "f1", "f2", "f3", "a"]
    assert room.asks("b", OTHER)
    assert room.places.held == 5  # the other was served more now than who has waited
    room.places.wrote(FLOOD, 100)
    assert room.placed[-1] == "b"
    assert room.asks("c", OTHER)
    room.places.wrote(FLOOD, 100)
    assert room.placed[-1] == "b"  # no more are spared
    room.places.leave("f0")
    room.places.leave("f1")
    assert room.placed[-1] == "b"  # as many are held as there are places
    room.places.leave("f2")
    assert room.placed[-2:] == ["c", "f4"]  # who had less of the places now is the flood


def test_nobody_is_spared_beyond_his_share() -> None:
    room = Room(2, 8, 4)
    for n in range(4):
        room.asks(f"f{n}", FLOOD)
    for n in range(3):
        room.asks(f"o{n}", OTHER)
        room.places.wrote(FLOOD, 100)
    assert room.placed == ["f0", "f1", "o0"]  # one of two places is half


def test_a_full_line_has_room_for_others() -> None:
    room = Room(1, 4)
    for n in range(5):
        assert room.asks(f"f{n}", FLOOD)
    assert not room.asks("f5", FLOOD)
    assert room.asks("a", OTHER)
    assert room.refused == ["f4"]
    assert room.asks("b", OTHER)
    assert room.refused == ["f4", "f3"]
    assert not room.asks("c", OTHER)  # now both have two
    assert not room.asks("f6", FLOOD)
    assert (room.places.held, room.places.waiting) == (1, 4)
    for who in ("f0", "a", "b", "f1", "f2"):
        room.places.leave(who)
    assert (room.places.held, room.places.waiting) == (0, 0)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("ealw"), st.integers(0, 99)), max_size=80))
def test_no_place_is_empty_while_somebody_waits(steps: list[tuple[str, int]]) -> None:
    room = Room(3, 4, 1)
    flows = [Flow("a"), Flow("b", 3.0), Flow("c", 1.0, 1), Flow("a", 1.0, -1)]
    here: list[str] = []
    for number, (what, which) in enumerate(steps):
        flow = flows[which % len(flows)]
        if what in "ea":
            here += [str(number)] * room.asks(str(number), flow, which)
        elif what == "w":
            room.places.wrote(flow, which)
        elif here:
            room.places.leave(here[which % len(here)])
            del here[which % len(here)]
        here = [who for who in here if who not in room.refused]
        held, waiting = room.places.held, room.places.waiting
        assert held >= 3 or not waiting
        assert held <= 4
        assert waiting <= 4
        assert held + waiting == len(here)  # and each was told one thing
        assert not set(room.placed) & set(room.refused)
        assert len(set(room.placed)) == len(room.placed)
        assert sum(who in room.placed for who in here) == held
    for who in here:
        room.places.leave(who)
    assert (room.places._holds, room.places._weights, room.places._waits) == ({}, {}, {})


async def test_a_flood_delays_nobody_else(
    serving: Any, helpers: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    path = tmp_path / "keys.toml"
    flood, other = (helpers.bearer(key) for key in ring(path, ["flood", "other"]))
    sizes = {"max_sessions": 2, "max_waiting": 3, "spare_sessions": 1}
    async with serving(keys_file=path, key=other[0][1].removeprefix("Bearer "), **sizes) as served:

        def ask(key: Any, prompt: str, **more: Any) -> Any:
            return served.inference.Generate(GenerateRequest(prompt=prompt, **more), metadata=key)

        running = [ask(flood, "f", request_id=f"f{n}") for n in range(2)]
        begun = [await served.router.submitted() for _ in running]
        lines = []
        for n in range(3):
            lines.append(ask(flood, f"w{n}"))
            await served.until_load(2, n + 1)
        code, _ = await helpers.failure(ask(flood, "f"))
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        spared = ask(other, "a")
        submit = await served.router.submitted()
        assert bytes(submit.prompt) == b"a"
        waits = ask(other, "b")  # in place of the last of the flood
        code, retry = await helpers.failure(lines[2])
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert retry.retry_delay.seconds >= 1
        served.router.tokens(begun[0], 0, b"x" * 9)  # that counts for the flood
        served.router.end(begun[0], 9, Finish.LENGTH)
        served.router.end(submit, 0, Finish.LENGTH, b"y")
        submit = await served.router.submitted()
        assert bytes(submit.prompt) == b"b"  # though the flood came first
        served.router.end(submit, 0, Finish.LENGTH, b"z")
        assert [(await helpers.read(call))[0] for call in (running[0], spared, waits)] == ["x" * 9, "y", "z"]
        for call in (running[1], *lines):
            call.cancel()
        await served.until_load(0, 0)


async def test_priorities_are_bounded_by_the_tenants(
    serving: Any, helpers: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    path = tmp_path / "keys.toml"
    (key,) = ring(path, ["acme"], "[tenants.acme]\npriority = 1\n")
    async with serving(keys_file=path, key=key, max_sessions=1) as served:

        def ask(prompt: str, **more: Any) -> Any:
            request = GenerateRequest(prompt=prompt, **more)
            return served.inference.Generate(request, metadata=helpers.bearer(key))

        for priority in (2, -5):
            code, bad = await helpers.failure(ask("x", priority=priority))
            assert code is grpc.StatusCode.INVALID_ARGUMENT
            assert [each.field for each in bad.field_violations] == ["priority"]
        calls = [ask("first")]
        submit = await served.router.submitted()
        for n, priority in enumerate((-4, 0, 1)):
            calls.append(ask(str(priority), priority=priority))
            await served.until_load(1, n + 1)
        order = []
        for _ in calls:
            order.append(bytes(submit.prompt).decode())
            served.router.end(submit, 0, Finish.LENGTH, b"x")
            if len(order) < len(calls):
                submit = await served.router.submitted()
        assert order == ["first", "1", "0", "-4"]
        for call in calls:
            await helpers.read(call)


async def details_of(call: Any) -> list[Any]:
    """All that a refusal says."""
    kinds = error_details_pb2.QuotaFailure, error_details_pb2.RetryInfo, error_details_pb2.BadRequest
    status = await rpc_status.aio.from_call(call)
    return [
        kind.FromString(packed.value)
        for packed in status.details
        for kind in kinds
        if packed.Is(kind.DESCRIPTOR)
    ]


async def test_a_quota_is_named(
    serving: Any, helpers: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    path = tmp_path / "keys.toml"
    limits = "[tenants.acme]\nmax_streams = 1\n[tenants.globex]\ntokens_per_minute = 10\n"
    acme, globex, free = (helpers.bearer(key) for key in ring(path, ["acme", "globex", "free"], limits))
    async with serving(keys_file=path, key=free[0][1].removeprefix("Bearer ")) as served:

        def ask(key: Any) -> Any:
            request = GenerateRequest(prompt="hi", max_tokens=8)
            return served.inference.Generate(request, metadata=key)

        reading = [ask(acme), ask(globex)]
        submits = [await served.router.submitted() for _ in reading]
        for key, name, seconds in ((acme, "max_streams", 1), (globex, "tokens_per_minute", 59)):
            refused = ask(key)
            code, _ = await helpers.failure(refused)
            assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
            quota, retry = await details_of(refused)
            (violation,) = quota.violations
            assert violation.subject == f"tenant:{'acme' if key is acme else 'globex'}"
            assert name in violation.description
            assert 0 <= seconds - retry.retry_delay.seconds <= 10
        for submit in submits:
            served.router.end(submit, 0, Finish.LENGTH, b"x")
        for call in reading:
            await helpers.read(call)
        for key in (acme, globex):  # the stream has ended, and the text was shorter than it might have been
            again = ask(key)
            served.router.end(await served.router.submitted(), 0, Finish.LENGTH, b"y")
            assert (await helpers.read(again))[0] == "y"
