"""A whole cluster with SmolLM2: the modes, the promises, and what happens when a process dies."""

import contextlib
import ipaddress
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import psutil
import pytest
from openai import OpenAI

from ringroad.cluster.client import CallFailed, Client, Delta, user
from tests.e2e.clusters import Cluster, running

PROMPT = "Explain in two sentences why the sky is blue."


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running(tmp_path_factory.mktemp("smol"), "smollm2-135m", "smollm2-135m", "bf16") as up:
        yield up


@pytest.mark.parametrize("temperature", [0.0, 0.9])
def test_speculative_text_is_large_text(cluster: Cluster, temperature: float) -> None:
    large = cluster.generate(PROMPT, mode="large", seed=11, temperature=temperature, max_tokens=60)
    free = cluster.generate(PROMPT, mode="speculative", seed=11, temperature=temperature, max_tokens=60)
    # A number of guesses is asked for: by itself the router guesses none where both models cost the same.
    speculative = cluster.generate(
        PROMPT, mode="speculative", seed=11, temperature=temperature, max_tokens=60, draft_tokens=4
    )
    assert free.ids == speculative.ids == large.ids
    assert free.text == speculative.text == large.text
    assert set(large.speakers) == {"LARGE"}
    assert set(speculative.speakers) == {"LARGE", "SMALL_ACCEPTED"}
    assert speculative.usage.consults < large.usage.consults == len(large.ids)


def test_openais_client_reads_the_same_text(cluster: Cluster) -> None:
    text = cluster.generate(
        PROMPT, mode="speculative", seed=3, temperature=0.8, max_tokens=40, draft_tokens=4
    )
    asked: Any = {
        "model": "test",
        "messages": [{"role": "user", "content": PROMPT}],
        "seed": 3,
        "temperature": 0.8,
        "max_tokens": 40,
        "extra_body": {"ringroad": {"mode": "speculative", "speculation": {"draft_tokens": 4}}},
    }
    with OpenAI(base_url=cluster.http, api_key="none") as client:
        choice = client.chat.completions.create(**asked).choices[0]
        chunks = list(client.chat.completions.create(**asked, stream=True))
    told: list[Any] = [chunk.choices[0].to_dict().get("ringroad", {}) for chunk in chunks]
    ids = [token for part in told for token in part.get("token_ids", [])]
    speakers = {speaker for part in told for speaker in part.get("speakers", [])}
    assert choice.message.content == text.text
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == text.text
    whole: Any = choice.to_dict()["ringroad"]
    assert ids == whole["token_ids"] == text.ids
    assert speakers == {"large", "small_accepted"}


def test_the_seed_makes_the_text(cluster: Cluster) -> None:
    texts = [cluster.generate(PROMPT, seed=seed, temperature=1.0, max_tokens=30).ids for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


def test_a_drawn_seed_is_reported_and_gives_the_text_again(cluster: Cluster) -> None:
    first = cluster.generate(PROMPT, temperature=1.0, max_tokens=20)
    again = cluster.generate(PROMPT, temperature=1.0, max_tokens=20, seed=first.usage.seed)
    assert again.ids == first.ids


def test_routing_from_never_to_always(cluster: Cluster) -> None:
    options = {"seed": 3, "temperature": 0.7, "max_tokens": 40}
    small = cluster.generate(PROMPT, mode="small", **options)
    large = cluster.generate(PROMPT, mode="large", **options)
    never = cluster.generate(PROMPT, mode="routed", policy="margin", threshold=1.1, **options)
    always = cluster.generate(PROMPT, mode="routed", policy="margin", threshold=0.0, **options)
    between = cluster.generate(PROMPT, mode="routed", policy="entropy", threshold=0.63, **options)
    held = cluster.generate(PROMPT, mode="routed", policy="random", large_share=0.5, **options)
    assert never.ids == small.ids
    assert set(never.speakers) == set(small.speakers) == {"SMALL_KEPT"}
    assert always.ids == large.ids
    assert set(between.speakers) == {"SMALL_KEPT", "LARGE"}
    assert set(held.speakers) == {"SMALL_KEPT", "LARGE"}
    # A consult may settle several doubts.
    assert between.usage.large_tokens == between.speakers.count("LARGE") >= between.usage.consults > 0


def test_many_streams_at_once_change_no_text(cluster: Cluster) -> None:
    requests = [
        {"mode": mode, "seed": seed, "temperature": 0.8, "max_tokens": 24, "draft_tokens": seed % 5 + 1}
        for seed in range(4)
        for mode in ("speculative", "routed")
    ]
    alone = [cluster.generate(PROMPT, **request) for request in requests]
    with ThreadPoolExecutor(len(requests)) as pool:
        together = list(pool.map(lambda request: cluster.generate(PROMPT, **request), requests))
    assert [t.ids for t in together] == [t.ids for t in alone]
    # Which guesses are made depends on what else was read; in routed mode who speaks is part of the text.
    assert [t.speakers for t in together[1::2]] == [t.speakers for t in alone[1::2]]


def _drained(cluster: Cluster) -> bool:
    with Client(cluster.target) as client:
        return client.load().running == 0 and all(r.sessions == 0 for r in client.server_info().roles)


def _eventually(cluster: Cluster) -> None:
    waiting = threading.Event()
    for _ in range(100):
        if _drained(cluster):
            return
        waiting.wait(0.1)
    raise AssertionError("sessions are still held after 10 s")


def test_cancel_deadline_and_abort_free_everything(cluster: Cluster) -> None:
    with Client(cluster.target) as client:
        stream = client.generate(user(PROMPT), max_tokens=400, ignore_eos=True, request_id="mine")
        assert isinstance(next(stream), Delta)
        stream.close()
        _eventually(cluster)
        with pytest.raises(CallFailed) as failed:
            for _ in client.generate(user(PROMPT), max_tokens=2000, ignore_eos=True, timeout=1.0):
                pass
        assert failed.value.code is grpc.StatusCode.DEADLINE_EXCEEDED
        _eventually(cluster)
        events = client.generate(user(PROMPT), max_tokens=2000, ignore_eos=True, request_id="another")
        assert isinstance(next(events), Delta)
        assert client.abort("another")
        *_, final = events
        assert not isinstance(final, Delta)
        assert final.finish_reason == 3  # CANCELLED
        _eventually(cluster)


def test_bad_input_is_refused_by_name_and_harms_nobody(cluster: Cluster) -> None:
    with Client(cluster.target) as client:
        stream = client.generate(user(PROMPT), max_tokens=40, seed=5)
        next(stream)
        for bad, name in (
            ({"temperature": -1.0}, "sampling.temperature"),
            ({"top_p": 0.0}, "sampling.top_p"),
            ({"max_tokens": 10**6}, "max_tokens"),
            ({"model": "nobody"}, "model"),
            ({"mode": "routed", "policy": "coin"}, "routing.policy"),
            ({"mode": "routed", "threshold": 0.5, "large_share": 0.5}, "routing.large_share"),
        ):
            with pytest.raises(CallFailed) as failed:
                list(client.generate("hello", **bad))  # type: ignore[arg-type]
            assert failed.value.code is grpc.StatusCode.INVALID_ARGUMENT
            assert list(failed.value.fields) == [name]
        *_, final = stream
        assert not isinstance(final, Delta)
        assert final.usage.completion_tokens > 0


def test_everything_listens_on_loopback(cluster: Cluster) -> None:
    listening = [
        connection.laddr
        for process in cluster.family.alive()
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert listening
    assert [a for a in listening if not ipaddress.ip_address(a.ip.removeprefix("::ffff:")).is_loopback] == []


@pytest.mark.parametrize("role", ["drafter", "verifier"])
def test_a_killed_role_costs_a_pause_and_no_token(cluster: Cluster, role: str) -> None:
    options = {"mode": "speculative", "seed": 21, "temperature": 0.8, "max_tokens": 150, "ignore_eos": True}
    expected = cluster.generate(PROMPT, **options)
    victim = cluster.replica(role)
    with ThreadPoolExecutor(1) as pool:
        begun = threading.Event()
        got = pool.submit(_generate_and_tell, cluster, begun, options)
        assert begun.wait(30)
        victim.kill()
        ids, degraded = got.result(timeout=120)
    assert ids == expected.ids
    assert degraded == [role]
    _whole_again(cluster)
    again = cluster.generate(PROMPT, **options)
    assert again.ids == expected.ids
    assert list(again.usage.degraded) == []


@pytest.mark.parametrize("part", ["router", "gateway"])
def test_a_killed_router_or_gateway_comes_back(cluster: Cluster, part: str) -> None:
    options = {"mode": "speculative", "seed": 22, "temperature": 0.8, "max_tokens": 30}
    expected = cluster.generate(PROMPT, **options)
    cluster.replica(part).kill()
    _whole_again(cluster)
    assert cluster.generate(PROMPT, **options).ids == expected.ids
    _eventually(cluster)


def _whole_again(cluster: Cluster) -> None:
    """Ray brings what was killed back, and the roles find each other again.

    Until the gateway has noticed, its roster is that of before; so only a text proves anything.
    """
    pause = threading.Event()
    for _ in range(120):
        with Client(cluster.target) as client, contextlib.suppress(CallFailed):
            cluster.generate("hello", timeout=10, mode="speculative", max_tokens=4)
            if {r.name for r in client.server_info().roles} == {"drafter", "verifier"}:
                return
        pause.wait(0.5)
    pytest.fail("what was killed did not come back within a minute")


def _generate_and_tell(
    cluster: Cluster, begun: threading.Event, options: dict[str, object]
) -> tuple[list[int], list[str]]:
    ids: list[int] = []
    degraded: list[str] = []
    with Client(cluster.target) as client:
        for event in client.generate(user(PROMPT), timeout=120, **options):  # type: ignore[arg-type]
            if isinstance(event, Delta):
                ids += event.token_ids
                if len(ids) > 10:
                    begun.set()
            else:
                degraded = list(event.usage.degraded)
    return ids, degraded
