"""Keeps a plain role going over a channel: the loops that Ray's actors, or a bare process, run."""

import contextlib
import logging
import queue
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping

from ringroad.actors.channel.hub import Hub
from ringroad.actors.channel.spoke import Spoke
from ringroad.actors.errors import traced
from ringroad.actors.role import Role
from ringroad.actors.router.config import RouterConfig
from ringroad.actors.router.router import Router
from ringroad.actors.shared import Shared
from ringroad.kernels.ring.communicator import RingBroken

log = logging.getLogger(__name__)

POLL_SECONDS = 0.2  # how soon a loop notices that it should stop
# How long a role that has just answered waits for those it answered, if others wait already: two
# crowds that take turns would never meet in a step otherwise. The way there and back takes 1 ms, and
# more for many; a wait of a small share of the step costs as little as that.
COMPANY_SECONDS, COMPANY_SHARE = 0.002, 0.05


def run_router(
    hub: Hub,
    config: RouterConfig,
    stop: threading.Event,
    quantiles: Mapping[str, list[float]] | None = None,
    grace_seconds: float = 0.0,
    replica: int = 0,
) -> None:
    """Routes until `stop` is set and its sessions have ended or moved to other routers, for at most
    `grace_seconds` more. `quantiles`, `replica`: as `Router` has them."""
    router = Router(config, hub.send, uuid.uuid4().hex, quantiles, replica)
    tick_at = 0.0
    for _ in _turns(stop, grace_seconds, router.leave, lambda: not len(router)):
        for sender, messages in hub.receive(min(POLL_SECONDS, config.heartbeat_seconds)):
            router.receive_all(sender, messages, time.monotonic())
            hub.flush()
        router.lose(*hub.gone())
        if time.monotonic() >= tick_at:
            for peer in router.tick(time.monotonic()):
                hub.cut(peer)
            tick_at = time.monotonic() + config.heartbeat_seconds
        hub.flush()


def run_role(role: Role, spoke: Spoke, stop: threading.Event, grace_seconds: float = 0.0) -> None:
    """Drafts or verifies until `stop` is set and no router has a session here, for at most `grace_seconds`
    more."""
    shared, company = Shared(role), 0.0
    for _ in _turns(stop, grace_seconds, spoke.leave, lambda: shared.released):
        _take_in(shared, spoke, company)
        company = 0.0
        if not role.busy:
            continue
        began = time.monotonic()
        try:
            answers = shared.step()
        except RingBroken:
            raise
        except Exception as error:  # noqa: BLE001 - the edge: one bad session must not end the others
            log.error("a step failed with %s", traced(error))
            answers = shared.rescue()
        for router, told in answers.items():
            spoke.send(router, told)
        if answers:
            company = max(COMPANY_SECONDS, COMPANY_SHARE * (time.monotonic() - began))


def _turns(
    stop: threading.Event, grace_seconds: float, leave: Callable[[], None], done: Callable[[], bool]
) -> Iterator[None]:
    """Turns of a loop: until `stop` is set, and then, when others are told by `leave`, until it is `done`."""
    while not stop.is_set():
        yield
    leave()
    ends = time.monotonic() + grace_seconds
    while time.monotonic() < ends and not done():
        yield


def _take_in(shared: Shared, spoke: Spoke, company: float) -> None:
    """Hands over what has arrived; waits for more while nothing is to be done, for `company` at most while
    somebody waits."""
    role = shared.role
    _receive(shared, spoke, 0.0)
    _receive(shared, spoke, company if role.asked else 0.0 if role.busy else POLL_SECONDS)


def _receive(shared: Shared, spoke: Spoke, wait: float) -> None:
    """Hands over every frame that is there, after waiting so many seconds for the first."""
    with contextlib.suppress(queue.Empty):
        while True:
            router, messages = spoke.inbox.get(timeout=wait)
            if messages is None:
                shared.lost(router)
            else:
                shared.receive(router, messages)
            wait = 0.0
