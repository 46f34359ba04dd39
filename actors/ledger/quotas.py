"""What tenants use of all gateways together, in Redis. Asked at the door, told of the rest behind."""

from typing import Any

from redis.asyncio import Redis

from ringroad.actors.ledger import keys, scripts


class SharedQuotas:
    """One gateway's view. What it could not tell is kept and told later: a sum for each tenant."""

    def __init__(self, redis: Redis, gateway: str, lease_seconds: float) -> None:
        """A gateway's streams count for so long after it has said how many there are."""
        self._redis = redis
        self._me = gateway
        self._lease = int(lease_seconds * 1000)  # ms
        self._draw = redis.register_script(scripts.DRAW)
        self._enter = redis.register_script(scripts.ENTER)
        self._spent: dict[str, tuple[int, int]] = {}  # by tenant: tokens, and how many a minute there are
        self._streams: dict[str, int] = {}  # by tenant; none is 0 but what was not told yet

    @property
    def waiting(self) -> bool:
        """Whether there is something to tell."""
        return bool(self._spent) or 0 in self._streams.values()

    async def draw(self, tenant: str, tokens: int, a_minute: int) -> float:
        """As `Ledger` says it; raises what Redis does."""
        answer: Any = await self._draw([keys.bucket(tenant)], [tokens, a_minute, ""])
        return int(answer) / 1000

    async def enter(self, tenant: str, streams: int, most: int) -> bool:
        """Likewise."""
        self._streams[tenant] = streams
        asked: list[str | int] = [self._me, streams, most, self._lease]
        granted = bool(await self._enter([keys.streams(tenant)], asked))
        if not granted and self._streams[tenant] == streams:  # and no other has come or gone meanwhile
            self._streams[tenant] = streams - 1
        return granted

    def spend(self, tenant: str, tokens: int, a_minute: int) -> None:
        """As `Ledger` says it."""
        before, _ = self._spent.get(tenant, (0, 0))
        self._spent[tenant] = (before + tokens, a_minute)

    def streams(self, tenant: str, streams: int) -> None:
        """Likewise."""
        self._streams[tenant] = streams

    def leave(self) -> None:
        """This gateway reads nothing any more."""
        self._streams = dict.fromkeys(self._streams, 0)

    async def write(self) -> None:
        """Tells what was spent, and of all streams, so that they go on to count. Raises what Redis does; what
        was spent is told again then, and where only the answer was lost, counts twice."""
        spent, self._spent, streams = self._spent, {}, dict(self._streams)
        if not spent and not streams:
            return
        try:
            async with self._redis.pipeline(transaction=False) as together:
                for tenant, (tokens, a_minute) in spent.items():
                    await self._draw([keys.bucket(tenant)], [tokens, a_minute, "1"], client=together)
                for tenant, count in streams.items():
                    said: list[str | int] = [self._me, count, "", self._lease]
                    await self._enter([keys.streams(tenant)], said, client=together)
                await together.execute()
        except BaseException:
            for tenant, (tokens, a_minute) in spent.items():
                self.spend(tenant, tokens, self._spent.get(tenant, (0, a_minute))[1])
            raise
        for tenant, count in streams.items():
            if count == 0 == self._streams[tenant]:
                del self._streams[tenant]
