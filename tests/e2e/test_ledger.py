"""The cluster's own ledger: a text goes on where its gateway was killed, and the server may die as well."""

from pathlib import Path

from ringroad.cluster.client import Client, Delta, user
from tests.e2e.clusters import Cluster, running

PROMPT = "Explain in two sentences why the sky is blue."


def ledger_of(cluster: Cluster) -> str:
    with Client(cluster.target) as client:
        return client.server_info().ledger


def test_a_text_outlives_its_gateway_and_the_ledgers_server(tmp_path: Path) -> None:
    with running(tmp_path, "smollm2-135m", "smollm2-135m", "bf16") as cluster:
        options = {"mode": "large", "seed": 5, "temperature": 0.8, "max_tokens": 80}
        whole = cluster.generate(PROMPT, **options)
        assert ledger_of(cluster) == "there"
        (server,) = [p for p in cluster.family.alive() if "valkey" in p.name()]
        server.kill()
        ids: list[int] = []
        with Client(cluster.target) as client:
            for event in client.generate(user(PROMPT), timeout=120.0, **options):  # type: ignore[arg-type]
                if isinstance(event, Delta):
                    if len(ids) < 20 <= len(ids) + len(event.token_ids):
                        cluster.replica("gateway").kill()
                    assert event.offset == len(ids)
                    ids += event.token_ids
        assert ids == whole.ids
        assert ledger_of(cluster) == "there"
