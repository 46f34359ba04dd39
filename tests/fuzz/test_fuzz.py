"""A slice of what `make fuzz` tries at length, and that the fuzzer can find something."""

import asyncio
import json
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from ringroad.v1 import control_pb2, inference_pb2
from tests.fuzz import campaign, parsers, running
from tests.fuzz.corpus import bodies, requests
from tests.fuzz.parsers import ACCEPTED, Case, drawn, judged

CASES = 5000
CALLS = 400


def test_valid_requests_are_accepted() -> None:
    for kind, valid in requests().items():
        for request in valid:
            assert judged(Case(kind.DESCRIPTOR.name, request.SerializeToString())) == ACCEPTED


@pytest.mark.parametrize("kind", list(parsers.JSON))
def test_valid_bodies_are_accepted(kind: str) -> None:
    for body in bodies()[kind]:
        assert judged(Case(kind, json.dumps(body).encode())) == ACCEPTED, body


def test_between_them_they_set_every_field() -> None:
    def named(kind: Descriptor) -> set[str]:
        fields = {f"{kind.name}.{field.name}" for field in kind.fields}
        return fields.union(*(named(field.message_type) for field in kind.fields if field.message_type))

    def held(message: Message) -> set[str]:
        found = set()
        for field, value in message.ListFields():
            found.add(f"{message.DESCRIPTOR.name}.{field.name}")
            if field.message_type is not None and field.message_type.GetOptions().map_entry:
                found |= {f"{field.message_type.name}.{name}" for name in ("key", "value")}
            elif field.message_type is not None:
                found = found.union(*map(held, value if field.is_repeated else [value]))
        return found

    for kind, valid in requests().items():
        assert set.union(*map(held, valid)) == named(kind.DESCRIPTOR)


def test_parsers_refuse_by_name_or_accept_what_can_be_served() -> None:
    found = {seed: wrong for seed in range(CASES) if (wrong := campaign.failure(drawn(seed)))}
    assert found == {}


def test_a_seed_is_a_case() -> None:
    assert [drawn(seed) for seed in range(50)] == [drawn(seed) for seed in range(50)]


def test_a_finding_is_cut_to_what_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(case: Case) -> str:
        if b"!" in case.data:
            raise ZeroDivisionError
        return ACCEPTED

    monkeypatch.setattr(campaign, "judged", broken)
    assert campaign.smallest(Case("GenerateRequest", b"some bytes and ! more")).data == b"!"


def test_who_is_interrupted_goes_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    path, tried = tmp_path / "fuzz.json", list[int]()

    def interrupted(seed: int) -> Case:
        tried.append(seed)
        if len(tried) == 25:
            raise KeyboardInterrupt
        return drawn(seed)

    monkeypatch.setattr(campaign, "BLOCK", 10)
    monkeypatch.setattr(campaign, "drawn", interrupted)
    with pytest.raises(KeyboardInterrupt):
        campaign.campaign(30, 100, path)
    assert campaign.campaign(30, 100, path) == 0
    assert tried == [*range(100, 125), *range(120, 130)]


def test_a_running_gateway_bears_them_and_keeps_nothing() -> None:
    outcomes, failed = asyncio.run(running.fuzz(range(CALLS)))
    assert failed == {}
    assert outcomes.total() == CALLS
    assert {"Generate OK", "Generate INVALID_ARGUMENT"} < set(outcomes)


def test_kinds_are_all_those_of_the_services() -> None:
    services = [
        inference_pb2.DESCRIPTOR.services_by_name["InferenceService"],
        control_pb2.DESCRIPTOR.services_by_name["ControlService"],
    ]
    assert set(parsers.KINDS) == {
        method.input_type.name for service in services for method in service.methods
    }
