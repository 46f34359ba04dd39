"""What Prometheus is told: of requests here, of the roles behind, and nothing that is not documented."""

import re
from pathlib import Path
from typing import Any

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from ringroad.actors.errors import RingroadError
from ringroad.actors.figures import DEPTHS, RoleFigures, RouterFigures
from ringroad.actors.gateway.measures import UNFINISHED, reason_of
from ringroad.actors.gateway.metrics import COUNTER, FAMILIES, HISTOGRAM
from ringroad.actors.messages import Counts, Finish, Hello, Mode, Roster, Speaker
from ringroad.v1 import control_pb2, inference_pb2
from tests.gateway.ledgers import MemoryLedger, Store

DOCS = Path(__file__).parents[2] / "docs/observability.md"
LABELS = {
    "mode": {mode.value for mode in Mode},
    "finish": {*(finish.value for finish in Finish), UNFINISHED},
    "speaker": {speaker.value for speaker in Speaker},
    "kind": {"drafter", "verifier", "head", "router", "gateway"},
    "role": {"drafter", "verifier", "head"},
    "position": {str(i) for i in range(1, DEPTHS + 1)},
}

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


async def scraped(served: Any) -> Samples:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{served.gateway.admin_port}/metrics") as response,
    ):
        assert response.status == 200
        assert response.content_type == "text/plain"
        text = await response.text()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float | None:
    return samples.get((f"ringroad_{name}", frozenset(labels.items())))


def subclasses(kind: type[RingroadError]) -> set[type[RingroadError]]:
    return {kind}.union(*map(subclasses, kind.__subclasses__()))


def busy_router() -> Roster:
    steps = RoleFigures(rows=7, failed=1, found=3, read=5, kv_held=64, kv_room=256)
    steps.steps.observe(0.02)
    steps.steps.observe(0.2)
    router = RouterFigures(replica=1, sessions=3, backlog=2, lost={"drafter": 4})
    router.judged[0], router.accepted[0] = 10, 8
    router.budgets.observe(4)
    peers = [
        Hello("verifier", sessions=2, idle_tokens=32, memory_bytes=9, figures=steps),
        Hello("drafter", "m", replica=1),
        Hello("head", rulings=6),
    ]
    return Roster(peers, figures=router)


async def test_a_request_is_counted_as_what_it_was(serving: Any, helpers: Any) -> None:
    async with serving(admin_port=0) as served:
        call = served.inference.Generate(inference_pb2.GenerateRequest(prompt="hi"))
        submit = await served.router.submitted()
        served.router.tokens(submit, 0, [*b"ab"], Speaker.SMALL_ACCEPTED)
        counts = Counts(drafted=5, accepted=2, consults=2, large=2, degraded=["verifier"])
        served.router.end(submit, 2, Finish.STOP, [*b"c", helpers.END], counts)
        await helpers.read(call)
        samples = await scraped(served)
    mode = {"mode": "speculative"}
    assert value(samples, "requests_total", **mode, finish="stop") == 1
    assert value(samples, "committed_tokens_total", **mode, speaker="small_accepted") == 2
    assert value(samples, "committed_tokens_total", **mode, speaker="large") == 2
    assert value(samples, "drafted_tokens_total", **mode) == 5
    assert value(samples, "consults_total", **mode) == 2
    assert value(samples, "prompt_tokens_total", **mode) == 2
    assert value(samples, "failovers_total", kind="verifier") == 1
    assert value(samples, "large_share_bucket", **mode, le="0.4") == 0
    assert value(samples, "large_share_bucket", **mode, le="0.5") == 1
    for name, times in (("time_to_first_token", 1), ("inter_token", 2), ("queue_wait", 1), ("request", 1)):
        assert value(samples, f"{name}_seconds_count", **mode) == times
    assert value(samples, "requests_total", mode="large", finish="stop") is None


async def test_refusals_say_why_and_cancels_are_seen(serving: Any, helpers: Any) -> None:
    async with serving(admin_port=0, max_sessions=1, max_waiting=0) as served:
        await helpers.failure(served.inference.Generate(inference_pb2.GenerateRequest(prompt="")))
        call = served.inference.Generate(inference_pb2.GenerateRequest(prompt="hi"))
        submit = await served.router.submitted()
        await helpers.failure(served.inference.Generate(inference_pb2.GenerateRequest(prompt="ho")))
        samples = await scraped(served)
        assert value(samples, "running_requests") == 1
        assert value(samples, "places") == 1
        assert value(samples, "streams") == 1
        call.cancel()
        cancel = await served.router.cancelled()
        assert cancel.session == submit.session
        await served.until_load(0, 0)
        samples = await scraped(served)
    assert value(samples, "refusals_total", reason="invalid_field") == 1
    assert value(samples, "refusals_total", reason="too_busy") == 1
    assert value(samples, "requests_total", mode="speculative", finish="cancelled") == 1


async def test_a_resumable_text_that_nobody_reads_is_unfinished(serving: Any) -> None:
    async with serving(admin_port=0, resume_seconds=0.01) as served:
        call = served.inference.Generate(inference_pb2.GenerateRequest(prompt="hi", resumable=True))
        await served.router.submitted()
        call.cancel()
        await served.until_load(0, 0)
        samples = await scraped(served)
    assert value(samples, "requests_total", mode="speculative", finish=UNFINISHED) == 1
    assert value(samples, "requests_total", mode="speculative", finish="cancelled") is None


async def test_who_waits_in_line_is_seen_and_its_wait_counted(serving: Any, helpers: Any) -> None:
    async with serving(admin_port=0, max_sessions=1) as served:
        first = served.inference.Generate(inference_pb2.GenerateRequest(prompt="a"))
        submit = await served.router.submitted()
        second = served.inference.Generate(inference_pb2.GenerateRequest(prompt="b", mode="MODE_LARGE"))
        await served.until_load(1, 1)
        samples = await scraped(served)
        assert value(samples, "waiting_requests") == 1
        assert value(samples, "queue_wait_seconds_count", mode="large") == 0
        assert (value(samples, "queue_wait_estimate_seconds") or 0) > 0
        served.router.end(submit, 0, Finish.STOP, [helpers.END])
        served.router.end(await served.router.submitted(), 0, Finish.STOP, [helpers.END])
        await helpers.read(first)
        await helpers.read(second)
        samples = await scraped(served)
        assert value(samples, "queue_wait_seconds_count", mode="large") == 1
        assert (value(samples, "queue_wait_seconds_sum", mode="large") or 0) > 0
        assert value(samples, "queue_wait_estimate_seconds") == 0


async def test_roles_are_told_as_they_told_the_router(serving: Any) -> None:
    async with serving(admin_port=0) as served:
        served.router.say(busy_router())
        await served.complete()
        samples = await scraped(served)
        judge = {"role": "verifier", "replica": "0"}
        assert value(samples, "step_seconds_count", **judge) == 2
        assert value(samples, "step_seconds_bucket", **judge, le="0.025") == 1
        assert value(samples, "step_seconds_sum", **judge) == 0.22
        assert value(samples, "step_rows_total", **judge) == 7
        assert value(samples, "failed_sessions_total", **judge) == 1
        assert value(samples, "kv_held_tokens", **judge) == 64
        assert value(samples, "kv_idle_tokens", **judge) == 32
        assert value(samples, "kv_room_tokens", **judge) == 256
        assert value(samples, "prefix_found_tokens_total", **judge) == 3
        assert value(samples, "prefix_read_tokens_total", **judge) == 5
        assert value(samples, "role_up", role="drafter", replica="1") == 1
        assert value(samples, "rulings_total", role="head", replica="0") == 6
        assert value(samples, "consult_backlog", replica="1") == 2
        assert value(samples, "judged_guesses_total", replica="1", position="1") == 10
        assert value(samples, "accepted_guesses_total", replica="1", position="1") == 8
        assert value(samples, "draft_budget_bucket", replica="1", le="4.0") == 1
        assert value(samples, "peers_lost_total", replica="1", role="drafter") == 4
        served.router.lose()
        await served.router_lost()
        samples = await scraped(served)
        assert value(samples, "router_up") == 0
        assert value(samples, "role_up", **judge) is None


async def test_a_ledger_is_told_of_where_there_is_one(serving: Any) -> None:
    async with serving(admin_port=0) as served:
        assert value(await scraped(served), "ledger_up") is None
    ledger = MemoryLedger(Store(), "a")
    ledger.waiting, ledger.given_up = 2, 3
    async with serving(admin_port=0, ledger=ledger) as served:
        samples = await scraped(served)
        assert value(samples, "ledger_up") == 1
        assert value(samples, "ledger_waiting_requests") == 2
        assert value(samples, "ledger_given_up_total") == 3
        ledger.away = True
        assert value(await scraped(served), "ledger_up") == 0


async def test_all_metrics_are_documented_and_labels_take_few_values(serving: Any) -> None:
    documented = re.findall(r"^\| `(ringroad_\w+)` \| (\w+) \| ([^|]*) \|", DOCS.read_text(), re.MULTILINE)
    known = [(f.full_name, f.kind, ", ".join(f"`{label}`" for label in f.labels)) for f in FAMILIES]
    assert sorted((name, kind, labels.strip()) for name, kind, labels in documented) == sorted(known)
    async with serving(admin_port=0, ledger=MemoryLedger(Store(), "a")) as served:
        served.router.say(busy_router())
        for prompt in ("secret words", "other words"):
            await served.complete(prompt=prompt, request_id=prompt.replace(" ", "-"), resumable=True)
        samples = await scraped(served)
    numbers = {"replica": {"0", "1"}, "reason": {reason_of(kind) for kind in subclasses(RingroadError)}}
    allowed = LABELS | numbers | {"version": {"1.2.3"}}
    names = {f.full_name: {*f.labels} for f in FAMILIES if f.kind != HISTOGRAM}
    for family in FAMILIES:
        if family.kind == HISTOGRAM:
            names |= {f"{family.full_name}_{part}": {*family.labels} for part in ("count", "sum")}
            names[f"{family.full_name}_bucket"] = {*family.labels, "le"}
    for name, labels in samples:
        if name.startswith("ringroad_"):
            assert {label for label, _ in labels} == names[name]
            assert all(label == "le" or word in allowed[label] for label, word in labels), (name, labels)
    assert not any("words" in word for _, labels in samples for _, word in labels)
    told = {name for name, _ in samples}
    silent = {f.full_name for f in FAMILIES if f.full_name not in told and f"{f.full_name}_count" not in told}
    assert silent == {"ringroad_refusals_total", "ringroad_failovers_total"}


def test_names_are_as_prometheus_has_them() -> None:
    for family in FAMILIES:
        assert family.full_name.endswith("_total") == (family.kind == COUNTER)
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", family.full_name), family


async def test_a_balancer_is_told_how_full_the_gateway_is(serving: Any, helpers: Any) -> None:
    async with serving(max_sessions=1) as served:
        served.router.say(busy_router())
        call = served.inference.Generate(inference_pb2.GenerateRequest(prompt="hi"))
        submit = await served.router.submitted()
        served.router.tokens(submit, 0, [*b"abc"], Speaker.SMALL_ACCEPTED)
        await anext(aiter(call))
        load = await served.control.GetLoad(control_pb2.GetLoadRequest())
        assert (load.running, load.committed_tokens, load.accepted_tokens, load.large_tokens) == (1, 3, 3, 0)
        assert load.queue_wait_seconds > 0
        assert load.tokens_per_second > 0
        assert (load.kv_share, load.consult_backlog) == (0.25, 2)
        counts = Counts(drafted=5, consults=2)
        served.router.end(submit, 3, Finish.STOP, [helpers.END], counts)
        assert [response async for response in call][-1].HasField("final")
        load = await served.control.GetLoad(control_pb2.GetLoadRequest())
        assert (load.drafted_tokens, load.consults, load.large_tokens) == (5, 2, 1)
        assert load.queue_wait_seconds == 0
        info = await served.control.GetServerInfo(control_pb2.GetServerInfoRequest())
        judge, guesser, _ = info.roles
        assert (judge.steps, judge.step_seconds, judge.step_rows) == (2, 0.22, 7)
        assert (judge.kv_held_tokens, judge.kv_room_tokens, guesser.replica) == (64, 256, 1)
