"""All requests of a gateway: those that are generated and those that wait in line."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from itertools import count

import msgspec

from ringroad.actors.errors import RingroadError, TooBusy, Unavailable
from ringroad.actors.gateway.config import GatewayConfig
from ringroad.actors.gateway.link import LinkLost, RouterLink
from ringroad.actors.gateway.session import Session
from ringroad.actors.messages import Cancel, Chunk, Finish, Submit

_RETRY_SECONDS = (1.0, 60.0)  # least and most that a client is told to wait


class Duplicate(RingroadError):
    """A request of the same name is still running here."""


class Sessions:
    """Places for `max_sessions` requests and a line of `max_waiting` more, first come first served."""

    def __init__(self, config: GatewayConfig, link: RouterLink) -> None:
        self.committed_tokens = 0
        self._config = config
        self._link = link
        self._free = config.max_sessions
        self._known: dict[str, Session] = {}  # by request id
        self._line: dict[str, Session] = {}  # by request id, in order
        self._routed: dict[str, Session] = {}  # not ended by the router yet, by the name it knows
        self._tag = f"{secrets.token_hex(4)}."
        self._serial = count()
        self._held_seconds = 1.0  # moving average over requests
        self._errands: set[asyncio.Task[None]] = set()
        self._closed = False
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def running(self) -> int:
        """Requests that hold a place."""
        return self._config.max_sessions - self._free

    @property
    def waiting(self) -> int:
        """Requests in line for one."""
        return len(self._line)

    @asynccontextmanager
    async def open(self, submit: Submit) -> AsyncIterator[Session]:
        """A session for as long as the block runs; it may wait for its place first.

        Leaving the block, however it is left, frees everything, here and at the router.
        Raises Duplicate, TooBusy, Unavailable.
        """
        request_id = submit.session
        if self._closed:
            raise Unavailable("the gateway is stopping")
        if request_id in self._known:
            raise Duplicate(f"request {request_id} is still running")
        # A name nobody had before, here or at another gateway of the same router, which may still be
        # clearing up after an earlier request of this id.
        name = f"{request_id}~{self._tag}{next(self._serial)}"
        session = Session(msgspec.structs.replace(submit, session=name))
        self._known[request_id] = session
        self._idle.clear()
        try:
            await self._enter(request_id, session)
            if not (session.ended or session.cancelled):  # by Abort, in line or on its way out of it
                await self._submit(session)
            yield session
        finally:
            self._leave(request_id, session)

    def deliver(self, chunk: Chunk) -> None:
        """Hands a chunk to its session; one whose session has left is dropped."""
        session = self._routed.get(chunk.session)
        if session is None:
            return
        if chunk.finish is not None:
            del self._routed[chunk.session]
        self.committed_tokens += len(chunk.tokens)
        session.put(chunk)

    def cancel(self, session: Session, reason: Finish) -> None:
        """Asks the router to end a session; it ends soon even if the router stays silent."""
        if session.cancelled or session.ended:
            return
        session.cancelled = True
        if session.submit.session not in self._routed:  # its place has come, its turn to submit has not
            session.end(reason)
            return
        self._send(Cancel(session.submit.session, reason))
        session.settling = asyncio.get_running_loop().call_later(
            self._config.settle_seconds, session.end, reason
        )

    def abort(self, request_id: str) -> bool:
        """Ends a request; false when none of that name is here."""
        session = self._known.get(request_id)
        if session is None:
            return False
        if session.placed_at is None:
            self._line.pop(request_id, None)
            session.end(Finish.CANCELLED)
            session.turn.set()
        else:
            self.cancel(session, Finish.CANCELLED)
        return True

    def lost(self) -> None:
        """The router is gone, and with it all that it was generating."""
        for session in self._routed.values():
            session.end(Finish.ERROR, "the router was lost")
        self._routed.clear()

    async def drain(self, grace_seconds: float) -> None:
        """Takes no more requests, and ends those that are not done in time."""
        self._closed = True
        with suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), grace_seconds)
        for session in self._known.values():
            session.end(Finish.ERROR, "the gateway is stopping")
            session.turn.set()

    async def _enter(self, request_id: str, session: Session) -> None:
        if self._free:
            self._free -= 1
            session.placed_at = asyncio.get_running_loop().time()
        elif len(self._line) < self._config.max_waiting:
            self._line[request_id] = session
            await session.turn.wait()
        else:
            least, most = _RETRY_SECONDS
            wait = self._held_seconds * (len(self._line) + 1) / self._config.max_sessions
            raise TooBusy("every place and the line for them are full", min(max(wait, least), most))

    async def _submit(self, session: Session) -> None:
        self._routed[session.submit.session] = session
        try:
            await self._link.send(session.submit)
        except LinkLost as error:
            raise Unavailable("the router is gone") from error

    def _leave(self, request_id: str, session: Session) -> None:
        # Synchronous on purpose: a second cancellation cannot stop it half-way.
        del self._known[request_id]
        self._line.pop(request_id, None)
        if session.settling is not None:
            session.settling.cancel()
        if self._routed.pop(session.submit.session, None) and not session.cancelled:
            self._send(Cancel(session.submit.session))
        if session.placed_at is not None:
            self._pass_on(session.placed_at)
        if not self._known:
            self._idle.set()

    def _pass_on(self, placed_at: float) -> None:
        now = asyncio.get_running_loop().time()
        self._held_seconds += 0.1 * (now - placed_at - self._held_seconds)
        if not self._line:
            self._free += 1
            return
        following = self._line.pop(next(iter(self._line)))
        following.placed_at = now
        following.turn.set()

    def _send(self, message: Cancel) -> None:
        async def errand() -> None:
            with suppress(LinkLost):
                await self._link.send(message)

        task = asyncio.get_running_loop().create_task(errand())
        self._errands.add(task)  # the loop itself keeps no strong reference
        task.add_done_callback(self._errands.discard)
