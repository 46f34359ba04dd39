"""Which sessions a router has, and under which names; those whose router is gone wait for the next.

A name is made anew for every submit, so that what comes late under an older one can be told apart.
"""

import asyncio
import secrets
from collections import deque
from collections.abc import Callable
from itertools import count

from ringroad.actors.errors import Unavailable
from ringroad.actors.gateway.config import GatewayConfig
from ringroad.actors.gateway.link import LinkLost, RouterLink
from ringroad.actors.gateway.measures import Measures
from ringroad.actors.gateway.peers import Peers
from ringroad.actors.gateway.session import Session
from ringroad.actors.gateway.transcript import Gap
from ringroad.actors.messages import Cancel, Chunk, Finish, Submit

_LOST = "the router was lost"


class Routes:
    """`ended` is called with every session that has ended by what is done here."""

    def __init__(
        self,
        config: GatewayConfig,
        link: RouterLink,
        peers: Peers,
        measures: Measures,
        ended: Callable[[Session], None],
    ) -> None:
        self._config = config
        self._measures = measures
        self._link = link
        self._peers = peers
        self._ended = ended
        self._up = False  # whether there is a router
        self._routed: dict[str, Session] = {}  # not ended by the router yet, by its name for them
        self._stranded: dict[Session, asyncio.TimerHandle] = {}  # without a router, until they are given up
        self._tag = f"{secrets.token_hex(4)}."
        self._serial = count()
        self._outbox: deque[Submit | Cancel] = deque()
        self._sender: asyncio.Task[None] | None = None

    def begin(self, session: Session) -> None:
        """Has it generated: from where it stands, as soon as there is a router."""
        self._measures.placed(session)
        if session.transcript.stopped:  # whoever had it before did not come to say so
            self.end(session, Finish.STOP)
        elif self._up:
            self._submit(session)
        else:
            self._strand(session)

    def deliver(self, chunk: Chunk) -> Session | None:
        """Hands a chunk to its session; None for one whose session has left, or goes by another name now."""
        session = self._routed.get(chunk.session)
        if session is None:
            return None
        before = len(session.transcript)
        try:
            session.put(chunk)
        except Gap as error:
            self.end(session, Finish.ERROR, str(error))
            return session
        self._measures.heard(session, before)
        if chunk.finish is not None:
            del self._routed[chunk.session]
            if chunk.finish is Finish.CANCELLED and session.cancelled is None:
                # This gateway was silent for long, and the router took it for gone.
                session.unnamed(lost=False)
                self.begin(session)
            else:
                self.end(session, chunk.finish, chunk.error)
        elif session.transcript.stopped:
            self.cancel(session, Finish.STOP)
        return session

    def cancel(self, session: Session, reason: Finish) -> None:
        """Asks the router to end a session; it ends soon even if the router stays silent."""
        if session.cancelled is not None or session.over:
            return
        session.cancelled = reason
        if not session.name:
            self.end(session, reason)
            return
        self._send(Cancel(session.name, reason))
        settle = self._config.settle_seconds
        session.settling = asyncio.get_running_loop().call_later(settle, self.end, session, reason)

    def end(self, session: Session, finish: Finish, error: str = "") -> None:
        """Ends a session from this side, unless it has ended."""
        if not session.over:
            session.end(finish, error)
            self._ended(session)

    def leave(self, session: Session) -> None:
        """Forgets a session; a router that still has it is told to end it."""
        if session.settling is not None:
            session.settling.cancel()
        if timer := self._stranded.pop(session, None):
            timer.cancel()
        if self._routed.pop(session.name, None) and session.cancelled is None:
            self._send(Cancel(session.name))

    def found(self) -> None:
        """A router has said who is there: those that wait go on with those that they need."""
        self._up = True
        for session in list(self._stranded):
            if self._peers.serve(session.record.submit.mode):
                self._submit(session)

    def lost(self) -> None:
        """The router is gone. All that it was to go on with is here."""
        self._up = False
        self._outbox.clear()
        routed, self._routed = self._routed, {}
        for session in routed.values():
            session.unnamed(lost=True)
            self._strand(session)

    def _submit(self, session: Session) -> None:
        if timer := self._stranded.pop(session, None):
            timer.cancel()
        # A name nobody had before, here or at another gateway of the same router, which may still be
        # clearing up after an earlier request of this id.
        submit = session.submit(f"{session.request_id}~{self._tag}{next(self._serial)}")
        self._routed[submit.session] = session
        self._send(submit)

    def _strand(self, session: Session) -> None:
        if session.cancelled is not None:
            self.end(session, session.cancelled)
            return
        seconds = self._config.router_seconds
        self._stranded[session] = asyncio.get_running_loop().call_later(seconds, self._overdue, session)

    def _overdue(self, session: Session) -> None:
        if self._up:  # it lacks a role: the router waits for that one, or goes without
            self._submit(session)
        elif session.resumable:  # another gateway may have a router
            session.transcript.fail(Unavailable(_LOST))
            self._ended(session)
        else:
            self.end(session, Finish.ERROR, _LOST)

    def _send(self, message: Submit | Cancel) -> None:
        self._outbox.append(message)
        if self._sender is None or self._sender.done():
            self._sender = asyncio.get_running_loop().create_task(self._send_all())

    async def _send_all(self) -> None:
        while self._outbox:
            message = self._outbox.popleft()
            try:
                await self._link.send(message)
            except LinkLost:
                if isinstance(message, Submit) and (session := self._routed.pop(message.session, None)):
                    session.unnamed(lost=False)
                    self._strand(session)
