"""Who is next of those that wait: tenants share by tokens, however many requests each of them sends."""

from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Generic, NamedTuple, TypeVar

from ringroad.actors.gateway.counters import Counters

PROMPT_COST, ANSWER_COST = 1.0, 2.0  # of a token: a prompt's are read together, an answer's come one by one
STEP = 4.0  # a request one priority higher counts a fourth

K = TypeVar("K", bound=Hashable)
W = TypeVar("W", bound=Hashable)


class Flow(NamedTuple):
    """Whose a request is, and how it counts."""

    tenant: str = ""
    weight: float = 1.0
    priority: int = 0


class Line(Generic[W]):
    """Those who wait. Tenants share by their weights, a tenant's priorities by theirs; of one priority the
    first come is first. No clock, and nothing waits in here."""

    def __init__(self) -> None:
        self._flows: dict[W, Flow] = {}
        self._weights: dict[str, float] = {}  # as last heard
        self._tenants: Counters[str] = Counters()
        self._priorities: dict[str, Counters[int]] = {}
        self._queues: dict[tuple[str, int], dict[W, None]] = {}  # by tenant and priority

    def __len__(self) -> int:
        return len(self._flows)

    def __iter__(self) -> Iterator[W]:
        return iter(self._flows)

    @property
    def weights(self) -> dict[str, float]:
        """Of the tenants that wait."""
        return {tenant: self._weights[tenant] for tenant in self._tenants}

    def join(self, who: W, flow: Flow) -> None:
        """Waits from now on."""
        tenant, weight, priority = flow
        self._flows[who] = flow
        self._weights[tenant] = weight
        self._tenants.come(tenant)
        self._priorities.setdefault(tenant, Counters()).come(priority)
        self._queues.setdefault((tenant, priority), {})[who] = None

    def leave(self, who: W) -> None:
        """Waits no longer, for whatever reason; who does not wait may leave, too."""
        flow = self._flows.pop(who, None)
        if flow is None:
            return
        tenant, _, priority = flow
        queue = self._queues[tenant, priority]
        del queue[who]
        if not queue:
            del self._queues[tenant, priority]
            self._priorities[tenant].go(priority)
        if not self._priorities[tenant]:
            self._tenants.go(tenant)

    def first(self, may: Callable[[str], bool] = lambda tenant: True) -> W | None:
        """Who is next: of the tenants that were served least the first that `may`. None where no such tenant
        waits."""
        for tenant in self._tenants.least() if self._flows else ():
            if may(tenant):
                priority = self._priorities[tenant].least()[0]
                return next(iter(self._queues[tenant, priority]))
        return None

    def charge(self, flow: Flow, cost: float) -> None:
        """Something was served: tokens, times `PROMPT_COST` or `ANSWER_COST`."""
        counted = cost / STEP**flow.priority
        self._tenants.charge(flow.tenant, counted / flow.weight)
        self._priorities.setdefault(flow.tenant, Counters()).charge(flow.priority, counted)

    def would_be_first(self, tenant: str) -> bool:
        """Whether somebody of this tenant would be `first` if he came now, or one as good."""
        waiting = self._tenants
        return not waiting or (tenant not in waiting and waiting.level(tenant) <= waiting.floor)

    def turns(self, flow: Flow, count: int = 1) -> float:
        """About how many are served up to the last of `count` newcomers, themselves included: of the others
        those that wait, but no more than is their share meanwhile."""
        tenant, weight, priority = flow
        weights = {**self._weights, tenant: weight}
        own = {each: len(queue) for (name, each), queue in self._queues.items() if name == tenant}
        mine = _meanwhile(own, priority, own.get(priority, 0) + count, lambda each: STEP**each)
        return _meanwhile(self._waiting(), tenant, mine, weights.__getitem__)

    def giving_way(self, flow: Flow, count: int = 1) -> list[W]:
        """Who has to leave a full line for `count` newcomers, one for each at most.

        It is the last of whoever has most in line for its weight, as long as that is more than what the
        newcomers' tenant has with them; or one of that tenant's own of lower priority.
        """
        queues = sorted(self._queues.items(), key=lambda each: -each[0][1])
        rows = {
            tenant: [who for (name, _), queue in queues if name == tenant for who in queue]
            for tenant in self._tenants
        }
        own = rows.pop(flow.tenant, [])
        mine, out = len(own), list[W]()
        for more in range(1, count + 1):
            most = max(rows, key=lambda tenant: len(rows[tenant]) / self._weights[tenant], default="")
            if rows and len(rows[most]) / self._weights[most] > (mine + more) / flow.weight:
                out.append(rows[most].pop())
            elif own and self._flows[own[-1]].priority < flow.priority:
                out.append(own.pop())
        return out

    def _waiting(self) -> dict[str, int]:
        waiting = dict.fromkeys(self._tenants, 0)
        for (tenant, _), queue in self._queues.items():
            waiting[tenant] += len(queue)
        return waiting


def _meanwhile(waiting: Mapping[K, int], me: K, mine: float, weight: Callable[[K], float]) -> float:
    """How many are served of all while `mine` are, who share by weight."""
    others = (min(count, mine * weight(key) / weight(me)) for key, count in waiting.items() if key != me)
    return mine + sum(others)
