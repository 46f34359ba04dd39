"""A few faults on a real cluster: `make chaos` in small."""

import asyncio
from pathlib import Path

import pytest

from tests.chaos.campaign import Chaos
from tests.chaos.cluster import started
from tests.chaos.streams import Load

MOST_GROWN = 20  # descriptors of a process that lived through it: connections that wait to be used again


@pytest.mark.timeout(600)
def test_whoever_dies_every_text_is_the_same_and_everything_is_given_back(tmp_path: Path) -> None:
    with started(tmp_path) as cluster:
        load = Load(cluster.targets, texts=12)
        chaos = Chaos(cluster, load, faults=4, streams=40, minutes=1.5, at_once=12, seed=1)
        asyncio.run(chaos.run(lambda line: None))
    assert chaos.error == ""
    assert load.wrong == []
    assert load.failed == []
    assert chaos.done == 4
    assert load.done >= 40
    assert chaos.left
    assert not any(chaos.left.values()), chaos.left
    survivors = chaos.as_dict()["processes"]
    assert survivors
    for process in survivors:
        for what in ("descriptors", "sockets"):
            before, after = process[what]
            assert after <= before + MOST_GROWN, process
