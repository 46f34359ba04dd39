"""The ledger on Redis: a task writes behind what was told, the rest asks directly."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import msgspec

from ringroad.actors.ledger import keys, scripts
from ringroad.actors.ledger.backlog import Backlog, Text
from ringroad.actors.ledger.config import NONE, LedgerConfig
from ringroad.actors.ledger.connection import connect
from ringroad.actors.ledger.ledger import Ending, Entry, LedgerAway, Part, Record
from ringroad.actors.ledger.pieces import Stored, joined
from ringroad.actors.ledger.presence import ERRORS, Presence, reason
from ringroad.actors.ledger.quotas import SharedQuotas
from ringroad.actors.messages import Speaker

log = logging.getLogger(__name__)

_decode_record = msgspec.msgpack.Decoder(Record).decode
_MOST_TEXTS = 64  # in one pipeline
_MOST_PIECES = 1000  # that one read of a follower gives
_RENEWALS = 3  # of a lease before it runs out
_LAST_WORDS = 4  # timeouts, for what is written on leaving


class RedisLedger:
    """Satisfies `Ledger` for one gateway. Made on a running event loop; `close` ends what it began."""

    def __init__(self, config: LedgerConfig, gateway: str) -> None:
        """`gateway`: a name that no other life of any gateway has."""
        self._config = config
        self._me = gateway
        self._redis = connect(config)
        self._write = self._redis.register_script(scripts.WRITE)
        self._claim = self._redis.register_script(scripts.CLAIM)
        self._backlog = Backlog(config.max_unwritten)
        self._quotas = SharedQuotas(self._redis, gateway, config.lease_seconds)
        self._presence = Presence()
        self._news = asyncio.Event()
        self._writer = asyncio.create_task(self._keep_writing(), name="ledger")

    @property
    def there(self) -> bool:
        """Whether it took what it was given last."""
        return self._presence.there

    @property
    def waiting(self) -> int:
        """Requests of which it lacks something."""
        return len(self._backlog.dirty())

    @property
    def given_up(self) -> int:
        """Requests that ended while it was away and were too many to keep."""
        return self._backlog.given_up

    def begin(self, record: Record) -> None:
        self._backlog.begin(record)
        self._news.set()

    def commit(
        self, request_id: str, offset: int, tokens: Sequence[int], speakers: Sequence[Speaker]
    ) -> None:
        self._backlog.commit(request_id, offset, tokens, speakers)
        self._news.set()

    def end(self, request_id: str, ending: Ending) -> None:
        self._backlog.end(request_id, ending)
        self._news.set()

    def drop(self, request_id: str) -> None:
        self._backlog.drop(request_id)
        self._news.set()

    async def find(self, request_id: str) -> Entry | None:
        where = keys.of_request(request_id)
        with _asking():
            async with self._redis.pipeline(transaction=True) as together:
                for command in (
                    ("GET", where.record),
                    ("XRANGE", where.text, "-", "+"),
                    ("GET", where.owner),
                ):
                    together.execute_command(*command)
                answers = await together.execute(raise_on_error=False)
            record, stored, owner = map(_no_error, answers)
            if record is None:
                return None
            alive = owner is not None and await self._redis.exists(keys.lease(owner.decode()))
        return Entry(_decode_record(record), joined(stored, 0), owner.decode() if alive else None)

    async def claim(self, request_id: str) -> bool:
        where = keys.of_request(request_id)
        with _asking():
            owner, alive = await self._owner(where)
            if alive and owner != self._me:
                return False
            return bool(await self._claim(where, [self._me, self._expiry, owner]))

    async def follow(self, request_id: str, offset: int) -> AsyncIterator[Part]:
        where = keys.of_request(request_id)
        while True:
            with _asking():
                stored = await self._pieces(where, offset, wait=True)
                if not stored and not (await self._owner(where))[1]:
                    stored = await self._pieces(where, offset, wait=False)  # its last words, if it had some
                    if not stored:
                        return
            if stored:
                part = joined(stored, offset)
                if not part.tokens and not part.ending:
                    raise LedgerAway("the ledger lost the beginning of this text")
                yield part
                if part.ending:
                    return
                offset += len(part.tokens)

    async def abort(self, request_id: str) -> bool:
        where = keys.of_request(request_id)
        with _asking():
            (owner, alive), others = await self._owner(where), await self._others(where)
            told = {owner, *others} if alive else others
            for mail in map(keys.aborts, sorted(told)):
                async with self._redis.pipeline(transaction=True) as together:
                    together.execute_command("RPUSH", mail, request_id.encode())
                    together.execute_command("PEXPIRE", mail, self._expiry)
                    for answer in await together.execute(raise_on_error=False):
                        _no_error(answer)
        return bool(told)

    async def aborted(self) -> str:
        while True:
            try:
                found: Any = await self._redis.blpop([keys.aborts(self._me)], timeout=self._patience)
            except ERRORS:
                _still_wanted()
                await asyncio.sleep(self._patience)
            else:
                if found:
                    return str(found[1].decode())

    async def draw(self, tenant: str, tokens: int, a_minute: int) -> float:
        with _asking():
            return await self._quotas.draw(tenant, tokens, a_minute)

    def spend(self, tenant: str, tokens: int, a_minute: int) -> None:
        self._quotas.spend(tenant, tokens, a_minute)
        self._news.set()

    async def enter(self, tenant: str, streams: int, most: int) -> bool:
        with _asking():
            return await self._quotas.enter(tenant, streams, most)

    def streams(self, tenant: str, streams: int) -> None:
        self._quotas.streams(tenant, streams)
        self._news.set()

    async def close(self) -> None:
        """Writes what is left if the ledger is there, and leaves the directory: others may go on at once."""
        self._writer.cancel()
        with suppress(asyncio.CancelledError):
            await self._writer
        with suppress(*ERRORS, TimeoutError):
            async with asyncio.timeout(_LAST_WORDS * self._config.timeout_seconds):
                self._quotas.leave()
                while self.there and (self.waiting or self._quotas.waiting):
                    await self._write_all()
                if self.there:
                    await self._redis.delete(keys.lease(self._me))
        await self._redis.aclose()

    @property
    def _expiry(self) -> int:
        return self._config.expiry_seconds * 1000  # ms

    @property
    def _patience(self) -> float:
        """How long one command waits for news, in seconds: an answer must come before its timeout."""
        return self._config.timeout_seconds / 2

    async def _keep_writing(self) -> None:
        while True:
            pause = self._config.write_seconds
            try:
                await self._write_all()
                self._presence.answered()
            except ERRORS as error:
                pause = self._presence.failed(error)
            except Exception as error:  # the task's outer edge: whatever it was, writing is tried again
                log.exception("the ledger could not be written")
                pause = self._presence.failed(error)
            _still_wanted()
            await asyncio.sleep(pause)
            if self.there and not self.waiting and not self._quotas.waiting:
                self._news.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._config.lease_seconds / _RENEWALS):
                        await self._news.wait()

    async def _write_all(self) -> None:
        """Renews the lease, and writes what the ledger lacks: raises what failed first."""
        texts = self._backlog.dirty()
        for first in range(0, max(1, len(texts)), _MOST_TEXTS):
            await self._write_some(texts[first : first + _MOST_TEXTS])
        await self._quotas.write()

    async def _write_some(self, texts: Sequence[Text]) -> None:
        asked = [text.arguments() for text in texts]
        async with self._redis.pipeline(transaction=False) as together:
            together.set(keys.lease(self._me), b"", px=int(self._config.lease_seconds * 1000))
            for text, arguments in zip(texts, asked, strict=True):
                await self._write(text.keys, [self._me, self._expiry, *arguments], client=together)
            renewed, *answers = await together.execute(raise_on_error=False)
        for text, arguments, answer in zip(texts, asked, answers, strict=True):
            if not isinstance(answer, Exception):
                text.answered(arguments, *answer)
        self._backlog.forget_settled()
        for answer in (renewed, *answers):
            _no_error(answer)

    async def _owner(self, where: keys.Keys) -> tuple[str, bool]:
        """Its name, or nothing; and whether it lives."""
        owner: Any = await self._redis.get(where.owner)
        if owner is None:
            return "", False
        return owner.decode(), bool(await self._redis.exists(keys.lease(owner.decode())))

    async def _others(self, where: keys.Keys) -> set[str]:
        """Gateways that generate it as well, though it is not theirs, and live."""
        names: Any = await self._redis.smembers(where.others)
        others = {name.decode() for name in names}
        return {each for each in others if await self._redis.exists(keys.lease(each))}

    async def _pieces(self, where: keys.Keys, offset: int, *, wait: bool) -> Sequence[Stored]:
        block = max(1, int(self._patience * 1000)) if wait else None
        found: Any = await self._redis.xread({where.text: f"{offset}-0"}, count=_MOST_PIECES, block=block)
        return [] if not found else list(found[0][1])


def open_ledger(config: LedgerConfig, gateway: str) -> RedisLedger | None:
    """None where none is configured; `cluster/embedded.py` has put a URL in the place of an empty one."""
    return None if config.url in ("", NONE) else RedisLedger(config, gateway)


@contextmanager
def _asking() -> Iterator[None]:
    try:
        yield
    except ERRORS as error:
        raise LedgerAway(f"the ledger is away: {reason(error)}") from error


def _still_wanted() -> None:
    """Raises CancelledError where a cancellation was lost: on a connection that breaks in the same moment the
    client raises that error instead, and a loop would go on for ever."""
    task = asyncio.current_task()
    if task and task.cancelling():
        raise asyncio.CancelledError


def _no_error(answer: Any) -> Any:
    if isinstance(answer, Exception):
        raise answer
    return answer
