"""Soak: mixed load, with streams that are left, dropped and too late, and what the cluster holds over time.

    python bench/soak.py [--minutes 30]

The cluster is tests/chaos/cluster.toml, whose ledger keeps a text two minutes. Written at every sample.
"""

import argparse
import asyncio
import os
import tempfile
from pathlib import Path
from typing import Any

from chaos import ALONE, alone
from harness import RESULTS, heading, write
from plots import axes

from tests.chaos.cluster import started
from tests.chaos.soaking import Sample, Soak


def main() -> None:
    """The command."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--minutes", type=float, default=30.0)
    options.add_argument("--at-once", type=int, default=16)
    options.add_argument("--out", type=Path, default=RESULTS / "soak.json")
    chosen = options.parse_args()
    head = {**heading(), "namespace": bool(os.environ.get(ALONE))}
    with tempfile.TemporaryDirectory(prefix="soak-") as folder, started(Path(folder)) as cluster:
        soak = Soak(cluster, chosen.minutes, chosen.at_once)

        def tell(sample: Sample) -> None:
            write(chosen.out, {**head, **soak.as_dict()})
            print(
                f"{sample.second / 60:.1f}/{chosen.minutes:g} min, {sum(soak.ended.values())} streams, "
                f"{len(soak.failed)} failed, {sum(sample.megabytes.values()):.0f} MB in processes, "
                f"ledger {sample.ledger_megabytes:.1f} MB in {sample.ledger_keys} keys",
                flush=True,
            )

        asyncio.run(soak.run(tell))
    result = {**head, **soak.as_dict()}
    write(chosen.out, result)
    plot(result, chosen.out.with_suffix(".png"))


def plot(result: dict[str, Any], path: Path) -> None:
    """Memory over time."""
    figure, (left, right) = axes(2, "Soak: memory of processes, and of the ledger")
    minutes = [sample[0] / 60 for sample in result["samples"]]
    for name in sorted({name for sample in result["samples"] for name in sample[1]}):
        left.plot(
            minutes, [sample[1].get(name, float("nan")) for sample in result["samples"]], label=name[:24]
        )
    left.set_ylabel("MB of its own")
    left.legend(fontsize=5)
    right.plot(minutes, [sample[2] for sample in result["samples"]], label="MB")
    right.plot(minutes, [sample[3] / 100 for sample in result["samples"]], label="hundreds of keys")
    right.legend(fontsize=7)
    for at in (left, right):
        at.set_xlabel("minutes")
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    alone()
    main()
