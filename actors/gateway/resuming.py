"""Requests that are not here though somebody asks for them: read from the ledger, followed, or taken up."""

import asyncio
from contextlib import suppress

from ringroad.actors.errors import RingroadError, Unavailable
from ringroad.actors.gateway.config import GatewayConfig
from ringroad.actors.gateway.fair import Flow
from ringroad.actors.gateway.naming import Duplicate, Unknown
from ringroad.actors.gateway.noledger import NoLedger
from ringroad.actors.gateway.peers import Peers
from ringroad.actors.gateway.session import Session
from ringroad.actors.gateway.sessions import Sessions
from ringroad.actors.gateway.tenants import Tenant
from ringroad.actors.ledger.ledger import Entry, Ledger, LedgerAway
from ringroad.actors.tokenizer import Tokenizer

_LOOK_SECONDS = 0.1  # that a request may be held up to see whether its name is known
_FIND_SECONDS = 2.0  # that one waits who can only go on with the ledger
_AWAY = "the ledger does not answer"


class Resuming:
    """What the ledger knows, as sessions."""

    def __init__(
        self, config: GatewayConfig, tokenizer: Tokenizer, ledger: Ledger, sessions: Sessions, peers: Peers
    ) -> None:
        self._config = config
        self._tokenizer = tokenizer
        self._ledger = ledger
        self._sessions = sessions
        self._peers = peers

    @property
    def ledger(self) -> str:
        """How the ledger is: "there", "away" or "none"."""
        if isinstance(self._ledger, NoLedger):
            return "none"
        return "there" if self._ledger.there else "away"

    async def resumed(
        self, request_id: str, patience: float | None, *, tenant: Tenant, resumable: bool
    ) -> Session:
        """The session of a request that was begun here or elsewhere.

        patience: seconds that it can wait for a place, should it need one. tenant, resumable: if it goes on
        here. Raises Unknown, Unavailable, TooBusy.
        """
        if session := self._sessions.find(request_id):
            return session
        try:
            entry = await asyncio.wait_for(self._ledger.find(request_id), _FIND_SECONDS)
            if entry is None:
                raise Unknown(request_id)
            return await self._session(entry, patience, tenant, resumable=resumable)
        except (TimeoutError, LedgerAway) as error:
            raise Unavailable(_AWAY) from error

    async def again(
        self, request_id: str, digest: bytes, patience: float | None, *, tenant: Tenant, resumable: bool
    ) -> Session | None:
        """The session of a request that was asked for before, if that is known without a long wait.

        Raises Duplicate where another one has its name, Unavailable, TooBusy.
        """
        if session := self._sessions.find(request_id):
            # Another request of that name is refused when it has been read: it may be wrong in itself.
            return session if session.record.digest == digest else None
        entry = None
        if self._ledger.there:
            with suppress(TimeoutError, LedgerAway):
                entry = await asyncio.wait_for(self._ledger.find(request_id), _LOOK_SECONDS)
        if entry is None:
            return None
        if entry.record.digest != digest:
            raise Duplicate(request_id)
        try:
            return await self._session(entry, patience, tenant, resumable=resumable)
        except (TimeoutError, LedgerAway) as error:
            raise Unavailable(_AWAY) from error

    async def abort(self, request_id: str) -> bool:
        """Has another gateway end a request; false where none generates it. Raises Unavailable."""
        try:
            return await asyncio.wait_for(self._ledger.abort(request_id), _FIND_SECONDS)
        except (TimeoutError, LedgerAway) as error:
            raise Unavailable(_AWAY) from error

    async def hear_aborts(self) -> None:
        """Ends what other gateways want ended, for as long as it runs."""
        while True:
            try:
                self._sessions.abort(await self._ledger.aborted())
            except LedgerAway:
                await asyncio.sleep(self._config.retry_seconds)

    async def _session(
        self, entry: Entry, patience: float | None, tenant: Tenant, *, resumable: bool
    ) -> Session:
        flow = Flow(tenant.name, tenant.weight, min(entry.record.priority, tenant.priority))
        session = Session(entry.record, self._tokenizer, resumable=resumable, recorded=True, flow=flow)
        session.read_back(entry.part)
        if session.over:
            return session
        mine = False
        if entry.owner is None:
            self._peers.check(entry.record.submit.mode)  # else another gateway may be the better one
            mine = await asyncio.wait_for(self._ledger.claim(session.request_id), _FIND_SECONDS)
        if known := self._sessions.find(session.request_id):  # another stream was faster
            return known
        self._sessions.admit()
        if mine:
            session.taken_up()
            self._generate(session, patience)
        else:
            session.follower = asyncio.create_task(self._follow(session))
            self._sessions.add(session)
        return session

    def _generate(self, session: Session, patience: float | None) -> None:
        try:
            self._sessions.generate([session], patience)
        except RingroadError as error:
            self._ledger.begin(session.record)  # only what was begun can be dropped, for others to take up
            self._sessions.fail(session, error)
            raise

    async def _follow(self, session: Session) -> None:
        """Reads on what another gateway commits; takes its place when that one is gone."""
        try:
            while not session.over:
                async for part in self._ledger.follow(session.request_id, len(session.transcript)):
                    session.read_back(part)
                if session.over:
                    return
                if await self._ledger.claim(session.request_id):
                    session.taken_up()
                    self._generate(session, None)
                    return
                if await self._ledger.find(session.request_id) is None:
                    raise Unknown(session.request_id)
                await asyncio.sleep(self._config.retry_seconds)
        except LedgerAway:
            self._sessions.fail(session, Unavailable(_AWAY))
        except RingroadError as error:
            self._sessions.fail(session, error)
