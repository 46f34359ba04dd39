"""Two gateways, two routers and two verifiers: who dies or leaves takes nobody else along."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from ringroad.cluster.client import Client, Delta, user
from tests.e2e.clusters import Cluster, running

PROMPT = "Explain in two sentences why the sky is blue."
OPTIONS = {"mode": "speculative", "seed": 5, "temperature": 0.8, "max_tokens": 60, "ignore_eos": True}
MORE = """
replicas = 2
[router]
replicas = 2
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("several")
    with running(folder, "smollm2-135m", "smollm2-135m", "int4", MORE, gateways=2) as up:
        yield up


def listening(process: psutil.Process) -> set[int]:
    found = process.net_connections("inet")
    return {each.laddr.port for each in found if each.status == psutil.CONN_LISTEN}


def hub_of(cluster: Cluster, target: str) -> psutil.Process:
    """The router that a gateway is connected to."""
    port = int(target.rpartition(":")[2])
    (gateway,) = [each for each in cluster.replicas("gateway") if port in listening(each)]
    there = {each.raddr.port for each in gateway.net_connections("inet") if each.raddr}
    (router,) = [each for each in cluster.replicas("router") if there & listening(each)]
    return router


def whole(cluster: Cluster, target: str) -> list[str]:
    """The roles behind a gateway, when all are there."""
    pause = threading.Event()
    for _ in range(300):
        with Client(target) as client:
            roles = sorted(role.name for role in client.server_info().roles)
            if len(roles) == 3 and client.ready():
                return roles
        pause.wait(0.2)
    raise AssertionError(f"only {roles} are there")


def one_text(target: str, begun: threading.Event | None = None) -> list[int]:
    ids: list[int] = []
    with Client(target) as client:
        for event in client.generate(user(PROMPT), timeout=120, **OPTIONS):  # type: ignore[arg-type]
            if isinstance(event, Delta):
                ids += event.token_ids
                if begun is not None:
                    begun.set()
    return ids


def test_streams_of_a_killed_router_go_on_and_so_do_the_others(cluster: Cluster) -> None:
    first, second = cluster.target.split(",")
    assert whole(cluster, first) == whole(cluster, second) == ["drafter", "verifier", "verifier"]
    victim, other = hub_of(cluster, first), hub_of(cluster, second)
    assert victim != other
    expected = one_text(first)
    assert one_text(second) == expected
    with ThreadPoolExecutor(4) as pool:
        begun = [threading.Event() for _ in range(4)]
        texts = [pool.submit(one_text, *each) for each in zip([first, second] * 2, begun, strict=True)]
        for each in begun:
            assert each.wait(60)
        victim.kill()
        assert [each.result(120) for each in texts] == [expected] * 4
    whole(cluster, first)  # at the router that is left, or at the new one
    assert one_text(first) == one_text(second) == expected


def test_streams_end_in_peace_when_the_cluster_is_ended(tmp_path_factory: pytest.TempPathFactory) -> None:
    with ThreadPoolExecutor(2) as pool:
        with running(
            tmp_path_factory.mktemp("ended"), "smollm2-135m", "smollm2-135m", "int4", MORE, gateways=2
        ) as cluster:
            targets = cluster.target.split(",")
            for target in targets:
                whole(cluster, target)
            expected = one_text(targets[0])
            begun = [threading.Event() for _ in targets]
            texts = [pool.submit(one_text, *each) for each in zip(targets, begun, strict=True)]
            for each in begun:
                assert each.wait(60)
        assert [each.result(60) for each in texts] == [expected, expected]
