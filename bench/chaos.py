"""Chaos: every part of a real cluster is killed, stopped and cut off, alone and in pairs, under streams.

    python bench/chaos.py [--faults 200] [--streams 2000] [--minutes 120]

The cluster is tests/chaos/cluster.toml, in a network namespace of its own where the kernel allows one. Every
text has to be the one of before the faults. Written after every fault, so an interrupted run is not lost.
"""

import argparse
import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parent.parent))

from harness import RESULTS, heading, write
from plots import axes, bars

from tests.chaos.campaign import Chaos
from tests.chaos.cluster import started
from tests.chaos.cutting import can_cut
from tests.chaos.streams import Load

ALONE = "RINGROADALONE"


def alone() -> None:
    """Goes on in a network namespace with nothing but loopback, where the kernel allows that."""
    unshare = shutil.which("unshare")
    if os.environ.get(ALONE) or unshare is None:
        return
    again = ["sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
    if subprocess.run([unshare, "-rn", *again, "true"], capture_output=True).returncode:
        return
    os.environ[ALONE] = "1"
    os.execv(unshare, [unshare, "-rn", *again, sys.executable, *sys.argv])


def main() -> None:
    """The command."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--faults", type=int, default=200)
    options.add_argument("--streams", type=int, default=2000, help="at least")
    options.add_argument("--minutes", type=float, default=120.0, help="at most")
    options.add_argument("--at-once", type=int, default=32)
    options.add_argument("--texts", type=int, default=96, help="that differ")
    options.add_argument("--seed", type=int, default=1, help="of who is struck, and when")
    options.add_argument("--out", type=Path, default=RESULTS / "chaos.json")
    chosen = options.parse_args()
    # Only there: it changes the ways of packets.
    hows = ["kill", "stop", *["cut"] * (bool(os.environ.get(ALONE)) and can_cut())]
    head = {**heading(), "namespace": bool(os.environ.get(ALONE))}
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder, started(Path(folder)) as cluster:
        load = Load(cluster.targets, chosen.texts)
        bounds = chosen.faults, chosen.streams, chosen.minutes, chosen.at_once
        chaos = Chaos(cluster, load, *bounds, chosen.seed, hows)

        def tell(line: str) -> None:
            print(line, flush=True)
            write(chosen.out, {**head, **chaos.as_dict()})

        print(f"{dict(cluster.full)} at {', '.join(cluster.targets)}", flush=True)
        asyncio.run(chaos.run(tell))
        result = {**head, **chaos.as_dict()}
        write(chosen.out, result)
    plot(result, chosen.out.with_suffix(".png"))
    sys.exit(1 if chaos.error or load.wrong or load.failed or any(chaos.left.values()) else 0)


def plot(result: dict[str, Any], path: Path) -> None:
    """Pauses by kind of fault."""
    figure, (left, right) = axes(2, "Chaos: pauses of streams, in seconds")
    for at, of in ((left, "streams_struck"), (right, "streams")):
        kinds = {kind: found[of] for kind, found in result["pauses"].items() if found[of]["count"]}
        series = {name: [found[name] for found in kinds.values()] for name in ("p50", "p99")}
        bars(at, list(kinds), series, of.replace("_", " "))
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    alone()
    main()
