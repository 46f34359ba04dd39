"""How the ranks of a verifier's ring find each other: Serve starts them as a gang, and the directory
knows where the first of them is."""

import os
import socket
import time
from collections.abc import Callable
from datetime import timedelta

import psutil
from ray import serve
from ray.serve.gang import GangContext
from torch.distributed import TCPStore  # type: ignore[attr-defined]  # it is there, and documented

from ringroad.actors.engine.ring.gang import MEET_SECONDS, Gang
from ringroad.actors.errors import Unavailable
from ringroad.actors.verifier.config import VerifierConfig

ASK_SECONDS = 0.2  # between questions where the first rank is

# Says where a gang meets, or says nothing and is told: "HOST:PORT", empty as long as nobody knows.
Meeting = Callable[[str, str], str]


def context() -> GangContext | None:
    """This replica's place in its gang, if it is in one."""
    return serve.get_replica_context().gang_context


def of_rank(config: VerifierConfig, rank: int) -> VerifierConfig:
    """What is one rank's own."""
    return config.model_copy(update={"cores": config.ring.cores[rank]}) if config.ring.cores else config


def join(config: VerifierConfig, host: str, place: GangContext, meeting: Meeting) -> Gang:
    """Waits for the other ranks. Raises Unavailable or RingBroken where they do not come."""
    # Else gloo takes the one that the host's name leads to, and NCCL whichever it likes.
    os.environ["GLOO_SOCKET_IFNAME"] = os.environ["NCCL_SOCKET_IFNAME"] = _interface(host)
    wait = timedelta(seconds=MEET_SECONDS)
    if place.rank == 0:
        # A socket of our own: the store's would listen on every interface.
        listening = socket.create_server((host, 0))
        port = listening.getsockname()[1]
        store = TCPStore(
            host,
            port,
            place.world_size,
            True,
            wait,
            wait_for_workers=False,
            master_listen_fd=listening.detach(),
        )
        meeting(place.gang_id, f"{host}:{port}")
    else:
        where = _asked(place.gang_id, meeting)
        store = TCPStore(where[0], where[1], place.world_size, False, wait, wait_for_workers=False)
    backend = "gloo" if config.device == "cpu" else "nccl"
    return Gang(store, place.rank, place.world_size, host, backend, config.ring.timeout_seconds)


def _asked(gang: str, meeting: Meeting) -> tuple[str, int]:
    end = time.monotonic() + MEET_SECONDS
    while not (where := meeting(gang, "")):
        if time.monotonic() > end:
            raise Unavailable(f"the first rank of {gang} has not come")
        time.sleep(ASK_SECONDS)
    host, _, port = where.rpartition(":")
    return host, int(port)


def _interface(host: str) -> str:
    """The network interface that has an address."""
    for name, addresses in psutil.net_if_addrs().items():
        if any(each.address == host for each in addresses):
            return name
    raise Unavailable(f"host: no interface of this machine has {host}")
