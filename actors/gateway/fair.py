"""Who is next of those that wait: tenants share by tokens, however many requests each of them sends."""

from collections.abc import Callable, Hashable, Iterator
from typing import Generic, NamedTuple, TypeVar

from ringroad.actors.gateway.counters import Counters

PROMPT_COST, ANSWER_COST = 1.0, 2.0  # of a token: a prompt's are read together, an answer's come one by one
# So much less than the others a tenant that was away may have been served when it comes back, and is first
# for that: a few requests at once, of one that comes rarely, do not hold up each other.
SAVED = 4096.0
STEP = 4.0  # a request one priority higher counts a fourth

W = TypeVar("W", bound=Hashable)


class Flow(NamedTuple):
    """Whose a request is, and how it counts."""

    tenant: str = ""
    weight: float = 1.0
    priority: int = 0


class Line(Generic[W]):
    """Those who wait. Tenants share, by their weights; of a tenant's own the most urgent is first, and of
    these the first come. No clock, and nothing waits in here."""

    def __init__(self, saved: float = SAVED) -> None:
        self._counters: Counters[str] = Counters(saved)  # of tenants
        self._weights: dict[str, float] = {}  # as last heard
        self._rows: dict[str, dict[W, Flow]] = {}  # by tenant, in the order they came; none is empty
        self._tenants: dict[W, str] = {}

    def __len__(self) -> int:
        return len(self._tenants)

    def __iter__(self) -> Iterator[W]:
        return iter(self._tenants)

    @property
    def weights(self) -> dict[str, float]:
        """Of the tenants that wait."""
        return {tenant: self._weights[tenant] for tenant in self._counters}

    def join(self, who: W, flow: Flow) -> None:
        """Waits from now on."""
        self._tenants[who] = flow.tenant
        self._weights[flow.tenant] = flow.weight
        self._rows.setdefault(flow.tenant, {})[who] = flow
        self._counters.come(flow.tenant)

    def leave(self, who: W) -> None:
        """Waits no longer, for whatever reason; who does not wait may leave, too."""
        tenant = self._tenants.pop(who, None)
        if tenant is None:
            return
        del self._rows[tenant][who]
        if not self._rows[tenant]:
            del self._rows[tenant]
            self._counters.go(tenant)

    def first(self, may: Callable[[str], bool] = lambda tenant: True) -> W | None:
        """Who is next: of the tenants that were served least the first that `may`. None where there is
        none."""
        for tenant in self._counters.least():
            if may(tenant):
                row = self._rows[tenant]
                return max(row, key=lambda who: row[who].priority)  # of the most urgent the first
        return None

    def charge(self, flow: Flow, cost: float) -> None:
        """Something was served: tokens, times `PROMPT_COST` or `ANSWER_COST`."""
        self._counters.charge(flow.tenant, cost / flow.weight / STEP**flow.priority)

    def would_be_first(self, tenant: str) -> bool:
        """Whether somebody of this tenant would be `first` if he came now, or one as good."""
        waiting = self._counters
        return not waiting or (tenant not in waiting and waiting.level(tenant) <= waiting.floor)

    def turns(self, flow: Flow, count: int = 1) -> float:
        """About how many are served up to the last of `count` newcomers, themselves included: those of its
        tenant that are as urgent, and of each other as many as is its share meanwhile."""
        own = self._rows.get(flow.tenant, {}).values()
        mine = count + sum(each.priority >= flow.priority for each in own)
        others = (
            min(len(row), mine * self._weights[tenant] / flow.weight)
            for tenant, row in self._rows.items()
            if tenant != flow.tenant
        )
        return mine + sum(others)

    def giving_way(self, flow: Flow, count: int = 1) -> list[W]:
        """Who has to leave a full line for `count` newcomers, one for each at most.

        It is the last of whoever has most in line for its weight, as long as that is more than what the
        newcomers' tenant has with them; or one of that tenant's own that is less urgent.
        """
        rows = {tenant: sorted(row, key=lambda who: -row[who].priority) for tenant, row in self._rows.items()}
        own = rows.pop(flow.tenant, [])
        mine, out = len(own), list[W]()
        for more in range(1, count + 1):
            most = max(rows, key=lambda tenant: len(rows[tenant]) / self._weights[tenant], default="")
            if rows and len(rows[most]) / self._weights[most] > (mine + more) / flow.weight:
                out.append(rows[most].pop())
            elif own and self._rows[flow.tenant][own[-1]].priority < flow.priority:
                out.append(own.pop())
        return out
