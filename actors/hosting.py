"""Keeps a plain role going over a channel: the loops that Ray's actors, or a bare process, run."""

import contextlib
import logging
import queue
import threading
import time
import uuid
from collections.abc import Mapping

from ringroad.actors.channel import Hub, Spoke
from ringroad.actors.role import Role
from ringroad.actors.router.config import RouterConfig
from ringroad.actors.router.router import Router
from ringroad.kernels.ring.communicator import RingBroken

log = logging.getLogger(__name__)

POLL_SECONDS = 0.2  # how soon a loop notices that it should stop
# How long a role that has just answered waits for those it answered, if others wait already: two
# crowds that take turns would never meet in a step otherwise. The way there and back takes 1 ms, and
# more for many; a wait of a small share of the step costs as little as that.
COMPANY_SECONDS, COMPANY_SHARE = 0.002, 0.05


def run_router(
    hub: Hub, config: RouterConfig, stop: threading.Event, quantiles: Mapping[str, list[float]] | None = None
) -> None:
    """Routes until `stop` is set. `quantiles`: as `Router` has them."""
    router = Router(config, hub.send, uuid.uuid4().hex, quantiles)
    tick_at = 0.0
    while not stop.is_set():
        for sender, messages in hub.receive(POLL_SECONDS):
            router.receive_all(sender, messages, time.monotonic())
            hub.flush()
        if time.monotonic() >= tick_at:
            router.tick(time.monotonic())
            hub.flush()
            tick_at = time.monotonic() + config.heartbeat_seconds


def run_role(role: Role, spoke: Spoke, stop: threading.Event) -> None:
    """Drafts or verifies until `stop` is set."""
    company = 0.0
    while not stop.is_set():
        _take_in(role, spoke, company)
        company = 0.0
        if not role.busy:
            continue
        began = time.monotonic()
        try:
            answers = role.step()
        except RingBroken:
            raise
        except Exception:  # the outer edge: one bad session must not end the others
            log.exception("a step failed")
            answers = role.rescue()
        if answers:
            spoke.send(answers)
            company = max(COMPANY_SECONDS, COMPANY_SHARE * (time.monotonic() - began))


def _take_in(role: Role, spoke: Spoke, company: float) -> None:
    """Hands over what has arrived; waits for more while nothing is to be done, for `company` at most while
    somebody waits."""
    _receive(role, spoke, 0.0)
    _receive(role, spoke, company if role.asked else 0.0 if role.busy else POLL_SECONDS)


def _receive(role: Role, spoke: Spoke, wait: float) -> None:
    """Hands over every frame that is there, after waiting so many seconds for the first."""
    with contextlib.suppress(queue.Empty):
        while True:
            for message in spoke.inbox.get(timeout=wait):
                role.receive(message)
            wait = 0.0
