"""Ray's control service dies: texts go on, new ones are served, and who dies meanwhile is replaced."""

import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from ringroad.cluster.client import Client, Delta, user
from ringroad.cluster.node import GCS
from tests.e2e.clusters import Cluster, running

STREAMS = 4
PROMPT = "Explain in two sentences why the sky is blue."
OPTIONS = {"mode": "speculative", "temperature": 0.8, "max_tokens": 100, "ignore_eos": True}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running(
        tmp_path_factory.mktemp("gcs"), "smollm2-135m", "smollm2-135m", "int4", "replicas = 2"
    ) as up:
        yield up


def gcs_of(cluster: Cluster) -> list[psutil.Process]:
    return [process for process in cluster.family.alive() if process.name() == GCS]


def text(target: str, seed: int, begun: threading.Event | None = None) -> list[int]:
    ids: list[int] = []
    with Client(target) as client:
        for event in client.generate(user(PROMPT), timeout=200, seed=seed, **OPTIONS):  # type: ignore[arg-type]
            if isinstance(event, Delta):
                ids += event.token_ids
                if begun is not None and len(ids) > 5:
                    begun.set()
    return ids


def awaited(there: object, what: str) -> None:
    """Until `there()`; nothing tells, so it is looked for."""
    pause = threading.Event()
    for _ in range(450):
        if there():  # type: ignore[operator]
            return
        pause.wait(0.2)
    raise AssertionError(what)


def test_texts_go_on_without_the_gcs_and_who_dies_meanwhile_is_replaced(cluster: Cluster) -> None:
    whole = [text(cluster.target, seed) for seed in range(STREAMS)]
    assert len({tuple(each) for each in whole}) > 1
    begun = [threading.Event() for _ in whole]
    launcher, verifiers = cluster.family.head, cluster.replicas("verifier")
    with ThreadPoolExecutor(STREAMS) as pool:
        texts = [pool.submit(text, cluster.target, seed, begun[seed]) for seed in range(STREAMS)]
        assert all(each.wait(60) for each in begun)
        launcher.send_signal(signal.SIGSTOP)  # who would start it again at once
        try:
            (gcs,) = gcs_of(cluster)
            gcs.kill()
            verifiers[0].kill()
            assert text(cluster.target, 0) == whole[0]
            assert [each.result(200) for each in texts] == whole
            assert not gcs_of(cluster)
        finally:
            launcher.send_signal(signal.SIGCONT)
    awaited(lambda: gcs not in gcs_of(cluster) and len(gcs_of(cluster)) == 1, "no GCS was started")
    with Client(cluster.target) as client:
        awaited(
            lambda: (
                sorted(role.name for role in client.server_info().roles)
                == ["drafter", "verifier", "verifier"]
            ),
            "the verifier that died is not replaced",
        )
    assert verifiers[0] not in cluster.replicas("verifier")
    assert text(cluster.target, 1) == whole[1]


def test_the_gcs_may_die_again(cluster: Cluster) -> None:
    for _ in range(2):
        (gcs,) = gcs_of(cluster)
        gcs.kill()
        awaited(lambda gone=gcs: gone not in gcs_of(cluster) and len(gcs_of(cluster)) == 1, "no GCS")  # type: ignore[misc]
    (victim,) = cluster.replicas("drafter")
    victim.kill()
    awaited(lambda: cluster.replicas("drafter") and victim not in cluster.replicas("drafter"), "no drafter")
    assert text(cluster.target, 2) == text(cluster.target, 2)
