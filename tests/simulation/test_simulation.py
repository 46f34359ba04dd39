"""A slice of the simulation in every test run; docs/simulation.md says what it is."""

import hashlib
import os
import subprocess
import sys
from dataclasses import replace

import pytest

from ringroad.actors.drafter.model import ModelDrafter
from ringroad.actors.messages import Mode, Submit
from ringroad.actors.verifier.verifier import Verifier
from ringroad.v1.inference_pb2 import GenerateResponse
from tests.roles.pair import generated, text_of
from tests.simulation import campaign
from tests.simulation.clients import Stream
from tests.simulation.models import LARGE, SMALL, Looking
from tests.simulation.oracles import expected, routed, run
from tests.simulation.schedule import BREAKS, CRASH, POLICIES, PROMPTS, SAMPLINGS, Ask, Fault, Schedule, drawn
from tests.simulation.shrink import smallest

SLICE = 300


@pytest.mark.parametrize("first", range(0, SLICE, 50))
def test_every_text_is_its_own_whatever_breaks(first: int) -> None:
    failed = campaign.tried(range(first, first + 50))["failed"]
    assert failed == {}, f"python -m tests.simulation --seed {next(iter(failed), '')}"


def test_a_seed_is_the_same_world_in_every_process() -> None:
    told = "import tests.simulation.test_simulation as t; print(t.traced())"
    outputs = {
        subprocess.run(
            [sys.executable, "-c", told],
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=campaign.ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1",)
    }
    assert outputs == {f"{traced()}\n"}


def traced() -> str:
    """A name for all that happens in some schedules."""
    trace = [line for seed in range(6) for line in run(drawn(seed), tracing=True).trace]
    return hashlib.sha256("\n".join(trace).encode()).hexdigest()


def test_schedules_have_everything_in_them() -> None:
    drawn_ones = [drawn(seed) for seed in range(SLICE)]
    kinds = {fault.kind for each in drawn_ones for fault in each.faults}
    assert kinds == {"crash", "stall", "slow", "cut", "apart", "away"}
    assert {ask.mode for each in drawn_ones for ask in each.asks} == set(Mode)
    assert {fault.target for each in drawn_ones for fault in each.faults} >= {"router0", "gateway0"}


@pytest.mark.parametrize("field", ["token_ids", "text", "offset"])
def test_a_delta_that_is_wrong_is_seen(field: str, monkeypatch: pytest.MonkeyPatch) -> None:
    schedule = Schedule(0, asks=(Ask("a0", 0.1, 1, 1, Mode.LARGE, 9),))
    assert run(schedule).errors == []
    write = Stream.write

    async def misread(self: Stream, response: GenerateResponse) -> None:
        if response.delta.token_ids:
            response.delta.token_ids[0] ^= field == "token_ids"
            response.delta.text += "!" * (field == "text")
            response.delta.offset += field == "offset"
        await write(self, response)

    monkeypatch.setattr(Stream, "write", misread)
    assert run(schedule).errors


def test_a_failing_schedule_is_made_small() -> None:
    schedule = next(each for each in map(drawn, range(1000)) if len(each.faults) > 2 and len(each.asks) > 1)
    wanted = schedule.faults[1]
    found = smallest(schedule, lambda each: wanted in each.faults)
    assert found.faults == (wanted,)
    assert len(found.asks) == 1
    assert found.harsh is found.wild is False
    assert found.asks[0].max_tokens == 1


def test_texts_without_faults_are_those_of_one_process() -> None:
    for policy in range(len(POLICIES)):
        ask = Ask("a", 0.0, 2, 1, Mode.ROUTED, 14, policy=policy)
        breaks = BREAKS if POLICIES[policy].name == "step" else []
        submit = Submit(
            "a", PROMPTS[2], 14, Mode.ROUTED, SAMPLINGS[1], policy=POLICIES[policy], breaks=breaks
        )
        roles = Verifier(Looking(LARGE, 8), LARGE), ModelDrafter(Looking(SMALL, 8), SMALL)
        assert routed(ask) == text_of(generated(submit, *roles))


def test_a_campaign_goes_on_where_it_was(tmp_path: campaign.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "simulation.json"
    monkeypatch.setattr(campaign, "BLOCK", 2)
    assert campaign.campaign(2, 0, 1, path) == 0
    first = campaign.json.loads(path.read_text())
    assert campaign.campaign(4, 0, 1, path) == 0
    both = campaign.json.loads(path.read_text())
    assert (first["schedules"], both["schedules"]) == (2, 4)
    assert both["faults"] == campaign.tried(range(4))["faults"]


def test_a_crash_is_a_pause() -> None:
    ask = Ask("a0", 0.1, 2, 1, Mode.SPECULATIVE, 14)
    broken = replace(Schedule(0, asks=(ask,)), faults=(Fault(0.2, CRASH, "router0", 0.3),))
    world = run(broken)
    assert world.errors == []
    assert world.readers["a0"].tokens == expected(ask)
