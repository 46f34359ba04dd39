"""All requests of a gateway: those that are generated, that wait in line, and that are read again."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial

from ringroad.actors.errors import RingroadError, TooBusy, Unavailable
from ringroad.actors.gateway.config import GatewayConfig
from ringroad.actors.gateway.link import RouterLink
from ringroad.actors.gateway.measures import Measures
from ringroad.actors.gateway.naming import Duplicate
from ringroad.actors.gateway.peers import Peers
from ringroad.actors.gateway.places import Places
from ringroad.actors.gateway.routes import Routes
from ringroad.actors.gateway.samples import sample_names
from ringroad.actors.gateway.session import Session
from ringroad.actors.ledger.ledger import Ledger
from ringroad.actors.messages import Chunk, Finish

_STOPPING = "the gateway is stopping"


class Sessions:
    """One session for each name. The ledger is told of those it is to know, and never waited for."""

    def __init__(self, config: GatewayConfig, link: RouterLink, peers: Peers, ledger: Ledger) -> None:
        self._config = config
        self._ledger = ledger
        self._places = Places(config.max_sessions, config.max_waiting, config.spare_sessions)
        self.measures = Measures()
        self._routes = Routes(config, link, peers, self.measures, self._ended)
        self._known: dict[str, Session] = {}  # by request id
        self._kept: dict[str, Session] = {}  # of these those that have ended, oldest first
        self._streams = 0
        self._closed = False
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def running(self) -> int:
        """Requests that hold a place."""
        return self._places.held

    @property
    def waiting(self) -> int:
        """Requests in line for one."""
        return self._places.waiting

    @property
    def committed_tokens(self) -> int:
        """Since the gateway started."""
        return self.measures.committed

    @property
    def streams(self) -> int:
        """That are read."""
        return self._streams

    @property
    def wait_seconds(self) -> float:
        """That whoever comes now is estimated to wait for a place."""
        return self._places.wait_seconds

    def find(self, request_id: str) -> Session | None:
        """The request of this name, if it is here."""
        return self._known.get(request_id)

    def admit(self) -> None:
        """Raises Unavailable or TooBusy when no stream may begin now."""
        if self._closed:
            raise Unavailable(_STOPPING)
        if self._streams >= self._config.max_streams:
            raise TooBusy("as many streams are read as may be", self._config.retry_seconds)

    def open(self, samples: Sequence[Session], patience: float | None) -> list[Session]:
        """Begins to generate the samples of a request; of those that are here already the sessions that are.

        patience: seconds that it can wait for a place, None for any.
        Raises Duplicate where another request has its name, TooBusy.
        """
        sessions = [self._known.get(sample.request_id, sample) for sample in samples]
        if any(session.record.digest != samples[0].record.digest for session in sessions):
            raise Duplicate(samples[0].request_id)
        fresh = [sample for sample in samples if sample in sessions]
        if fresh:
            self.generate(fresh, patience)
        return sessions

    def add(self, session: Session) -> None:
        """Makes a session known by its name."""
        self._known[session.request_id] = session
        self._idle.clear()

    def generate(self, sessions: Sequence[Session], patience: float | None) -> None:
        """Gives each of these, which are one request's, a place or one in the line. Raises TooBusy, then to
        none."""
        self._places.check(sessions[0].flow, patience, len(sessions))
        for session in sessions:
            self.add(session)
            if session.recorded:
                self._ledger.begin(session.record)
                self._note(session)
            tokens = len(session.record.submit.prompt) + len(session.transcript)
            asked = session, session.flow, tokens
            self._places.enter(*asked, partial(self._routes.begin, session), partial(self.fail, session))

    @contextmanager
    def reading(self, session: Session, expired: Callable[[], bool]) -> Iterator[None]:
        """A stream of a session. `expired` says as it ends whether its deadline has passed."""
        if session.leaving is not None:
            session.leaving.cancel()
            session.leaving = None
        session.readers += 1
        self._streams += 1
        self._idle.clear()
        try:
            yield
        finally:  # synchronous on purpose: a second cancellation cannot stop it half-way
            session.readers -= 1
            self._streams -= 1
            if session.readers == 0:
                self._left(session, expired())
            self._rest()

    def deliver(self, chunk: Chunk) -> None:
        """Hands a chunk to its session; one whose session has left is dropped."""
        before = self.committed_tokens
        if session := self._routes.deliver(chunk):
            self._note(session)
            self._places.wrote(session.flow, self.committed_tokens - before)

    def abort(self, request_id: str) -> bool:
        """Ends a request that is generated here; false when none of that name is."""
        known = [self._known.get(name) for name in sample_names(request_id)]
        running = [each for each in known if each and not each.over and each.follower is None]
        for session in running:
            self._routes.cancel(session, Finish.CANCELLED)
        return bool(running)

    def found(self) -> None:
        """A router has said who is there."""
        self._routes.found()

    def lost(self) -> None:
        """The router is gone: what it was generating waits for the next."""
        self._routes.lost()

    async def drain(self, grace_seconds: float) -> None:
        """Takes no more requests, and gives up those that are not done in time."""
        self._closed = True
        with suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), grace_seconds)
        self.give_up(_STOPPING)

    def give_up(self, why: str) -> None:
        """Nothing is generated here any more; others may take up what is resumable."""
        for session in list(self._known.values()):
            if session.resumable or session.follower is not None:
                self.fail(session, Unavailable(why))
            else:
                self._routes.end(session, Finish.ERROR, why)

    def fail(self, session: Session, why: RingroadError) -> None:
        """Ends a session for its readers here though the request has not ended: it may be taken up again."""
        if session.over:
            return
        self._note(session)
        session.transcript.fail(why)
        if session.follower is None:
            self.measures.ended(session)
        self._drop(session)

    def _ended(self, session: Session) -> None:
        self._note(session)
        self.measures.ended(session)
        ending = session.transcript.ending
        if ending is None or ending.finish is Finish.ERROR:  # who asks for it again has it go on
            self._drop(session)
            return
        self._release(session)
        if session.recorded:
            self._ledger.end(session.request_id, ending)
        if session.resumable:
            self._kept[session.request_id] = session
            while len(self._kept) > self._config.max_kept:
                self._forget(next(iter(self._kept.values())))
        elif session.readers == 0:
            self._forget(session)

    def _left(self, session: Session, expired: bool) -> None:
        """Nobody reads it any more."""
        if self._known.get(session.request_id) is not session:
            return
        if expired and not session.over and session.follower is None:
            self._routes.end(session, Finish.CANCELLED)
        if session.resumable and session.follower is None:
            seconds = self._config.resume_seconds
            session.leaving = asyncio.get_running_loop().call_later(seconds, self._unread, session)
        else:
            self._unread(session)

    def _unread(self, session: Session) -> None:
        self.fail(session, Unavailable("nobody reads it"))
        self._forget(session)

    def _drop(self, session: Session) -> None:
        self._release(session)
        if session.recorded and session.follower is None:
            self._ledger.drop(session.request_id)
        self._forget(session)

    def _release(self, session: Session) -> None:
        """Frees all that it held of others."""
        self._routes.leave(session)
        self._places.leave(session)
        if session.charge is not None:
            begun = session.name or len(session.transcript)
            session.charge.settle(len(session.transcript)) if begun else session.charge.void()
        if session.follower is not None and session.follower is not asyncio.current_task():
            session.follower.cancel()
        self._rest()

    def _forget(self, session: Session) -> None:
        if session.leaving is not None:
            session.leaving.cancel()
        if self._known.get(session.request_id) is session:
            del self._known[session.request_id]
            self._kept.pop(session.request_id, None)
        self._rest()

    def _note(self, session: Session) -> None:
        """Tells the ledger what it does not know yet."""
        transcript, noted = session.transcript, session.noted
        if not session.recorded or noted == len(transcript) or session.follower is not None:
            return
        session.noted = len(transcript)
        tokens = transcript.tokens[noted:].tolist()
        self._ledger.commit(session.request_id, noted, tokens, transcript.speakers[noted:])

    def _rest(self) -> None:
        if self._streams == self.running == self.waiting == 0:
            self._idle.set()
