"""Keeps a plain role going over a channel: the loops that Ray's actors, or a bare process, run."""

import logging
import queue
import threading
import time
import uuid

from ringroad.actors.channel import Hub, Spoke
from ringroad.actors.role import Role
from ringroad.actors.router.config import RouterConfig
from ringroad.actors.router.router import Router

log = logging.getLogger(__name__)

POLL_SECONDS = 0.2  # how soon a loop notices that it should stop


def run_router(hub: Hub, config: RouterConfig, stop: threading.Event) -> None:
    """Routes until `stop` is set."""
    router = Router(config, hub.send, name=uuid.uuid4().hex)
    tick_at = 0.0
    while not stop.is_set():
        for sender, message in hub.receive(POLL_SECONDS):
            router.receive(sender, message, time.monotonic())
        if time.monotonic() >= tick_at:
            router.tick(time.monotonic())
            tick_at = time.monotonic() + config.heartbeat_seconds


def run_role(role: Role, spoke: Spoke, stop: threading.Event) -> None:
    """Drafts or verifies until `stop` is set."""
    while not stop.is_set():
        try:
            while True:
                role.receive(spoke.inbox.get(block=not role.busy, timeout=POLL_SECONDS))
        except queue.Empty:
            pass
        if not role.busy:
            continue
        try:
            answers = role.step()
        except Exception:  # the outer edge: one bad session must not end the others
            log.exception("a step failed")
            answers = role.rescue()
        for answer in answers:
            spoke.send(answer)
