"""A learned head through the whole cluster: in its two places, and when its process dies."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ringroad.actors.engine.weights import fingerprint, open_weights
from ringroad.actors.head.card import Card
from ringroad.actors.head.file import write
from ringroad.cluster.client import Client
from ringroad.cluster.models import locate
from tests.e2e.clusters import Cluster, Text, running
from tests.kernels.heads import tensors

MODEL = "smollm2-135m"
PROMPT = "Explain in two sentences why the sky is blue."
STREAMS = 20


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One of random weights, which asks for the large model often enough."""
    path = tmp_path_factory.mktemp("head") / "head.safetensors"
    weights = open_weights(locate(MODEL))
    mark = fingerprint(weights)
    card = Card(small=mark, large=mark, small_weights="int4", threshold=0.5)
    write(path, tensors(weights.shape.width, scale=0.05), card)
    return path


def config(head: Path, placement: str) -> str:
    return f'[head]\npath = "{head}"\nplacement = "{placement}"\n'


def complete(cluster: Cluster, *roles: str) -> None:
    """Waits until all of these are there."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        with Client(cluster.target) as client:
            if set(roles) <= {role.name for role in client.server_info().roles}:
                return
        time.sleep(0.5)
    raise AssertionError(f"one of {roles} did not come")


def said(cluster: Cluster, seed: int, max_tokens: int = 40) -> Text:
    return cluster.generate(
        PROMPT,
        mode="routed",
        policy="learned",
        large_share=0.3,
        seed=seed,
        temperature=0.5 * (seed % 2),
        max_tokens=max_tokens,
        draft_tokens=1 + seed % 8,
    )


@pytest.mark.timeout(600)  # two clusters, and a restart
def test_a_head_apart_says_the_same_and_its_death_ends_no_stream(tmp_path: Path, head: Path) -> None:
    for place in ("drafter", "own"):
        (tmp_path / place).mkdir()
    with running(tmp_path / "drafter", MODEL, MODEL, "bf16", config(head, "drafter")) as cluster:
        complete(cluster, "drafter", "verifier")
        inside = [said(cluster, seed) for seed in range(3)]
    with running(tmp_path / "own", MODEL, MODEL, "bf16", config(head, "own")) as cluster:
        complete(cluster, "drafter", "verifier", "head")
        for seed, expected in enumerate(inside):
            found = said(cluster, seed)
            assert (found.ids, found.speakers) == (expected.ids, expected.speakers)
            assert set(found.speakers) == {"SMALL_KEPT", "LARGE"}
            assert list(found.usage.degraded) == []
        with ThreadPoolExecutor(STREAMS) as pool:
            streams = [pool.submit(said, cluster, seed, 80) for seed in range(STREAMS)]
            time.sleep(1.0)
            cluster.replica("head").kill()
            texts = [stream.result() for stream in streams]
        assert all(text.finish == "STOP" or len(text.ids) == 80 for text in texts)
        assert any(list(text.usage.degraded) == ["head"] for text in texts)
        end = time.monotonic() + 60
        while list(said(cluster, 0).usage.degraded) and time.monotonic() < end:
            time.sleep(1.0)
        again = said(cluster, 0)
        assert (again.ids, list(again.usage.degraded)) == (inside[0].ids, []), "back in use"
