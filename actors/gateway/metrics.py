"""A gateway's figures, and those of the roles behind it, as Prometheus asks for them.

All are in `FAMILIES`, and docs/observability.md lists the same. Labels take few values: modes, roles,
finishes, names of errors, numbers of replicas, depths of guesses. None is a text, a request or a client.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from ringroad.actors.figures import Tally
from ringroad.actors.gateway.peers import Peers
from ringroad.actors.gateway.sessions import Sessions
from ringroad.actors.gateway.tallies import SPEAKERS
from ringroad.actors.ledger.ledger import Ledger
from ringroad.actors.messages import Mode

COUNTER, GAUGE, HISTOGRAM = "counter", "gauge", "histogram"


class Family(NamedTuple):
    """What a metric is."""

    name: str  # without "ringroad_", and without a counter's "_total"
    kind: str
    help: str
    labels: Sequence[str] = ()

    @property
    def full_name(self) -> str:
        """As it is asked for."""
        return f"ringroad_{self.name}_total" if self.kind == COUNTER else f"ringroad_{self.name}"


_ROLE = ("role", "replica")
_REPLICA = ("replica",)
FAMILIES = (
    Family("build_info", GAUGE, "Always 1.", ("version",)),
    # Requests at this gateway.
    Family("requests", COUNTER, "Requests that have ended.", ("mode", "finish")),
    Family("refusals", COUNTER, "Requests answered with an error, by its name.", ("reason",)),
    Family("failovers", COUNTER, "Requests that lost a role on their way and ended all the same.", ("kind",)),
    Family("request_seconds", HISTOGRAM, "From receipt of a request to its end.", ("mode",)),
    Family("queue_wait_seconds", HISTOGRAM, "From receipt of a request to a place.", ("mode",)),
    Family("time_to_first_token_seconds", HISTOGRAM, "From receipt to the first token.", ("mode",)),
    Family("inter_token_seconds", HISTOGRAM, "Between a token and the next.", ("mode",)),
    Family("running_requests", GAUGE, "Requests that are generated."),
    Family("waiting_requests", GAUGE, "Requests in line for a place."),
    Family("places", GAUGE, "Requests that may be generated at once."),
    Family("streams", GAUGE, "Answers that are being read."),
    Family("queue_wait_estimate_seconds", GAUGE, "What a request that comes now would wait for a place."),
    # Tokens of these.
    Family("prompt_tokens", COUNTER, "Tokens of prompts that were given a place.", ("mode",)),
    Family("committed_tokens", COUNTER, "Tokens committed, by who spoke them.", ("mode", "speaker")),
    Family("drafted_tokens", COUNTER, "Tokens guessed by drafters.", ("mode",)),
    Family("consults", COUNTER, "Forward passes of the large model, for a request each.", ("mode",)),
    Family("large_share", HISTOGRAM, "Of a request's tokens, the share of the large model.", ("mode",)),
    # The ledger, as this gateway sees it; nothing where there is none.
    Family("ledger_up", GAUGE, "1 while the ledger takes what it is told."),
    Family("ledger_waiting_requests", GAUGE, "Requests of which the ledger lacks something."),
    Family("ledger_given_up", COUNTER, "Requests that ended and were never written."),
    # The router of this gateway.
    Family("router_up", GAUGE, "1 while there is a router."),
    Family("router_sessions", GAUGE, "Sessions at the router.", _REPLICA),
    Family("consult_backlog", GAUGE, "Sessions at the router that wait for a verdict.", _REPLICA),
    Family("judged_guesses", COUNTER, "Consults about guesses so deep.", (*_REPLICA, "position")),
    Family("accepted_guesses", COUNTER, "Of these, those where the guess stayed.", (*_REPLICA, "position")),
    Family("draft_budget", HISTOGRAM, "Guesses allowed in a round of speculation.", _REPLICA),
    Family("peers_lost", COUNTER, "Drafters, verifiers and heads lost by the router.", (*_REPLICA, "role")),
    # Drafters, verifiers and heads, as they told the router.
    Family("role_up", GAUGE, "1 while the router hears from it.", _ROLE),
    Family("role_sessions", GAUGE, "Sessions it holds.", _ROLE),
    Family("role_memory_bytes", GAUGE, "Resident memory.", _ROLE),
    Family("step_seconds", HISTOGRAM, "Forward passes.", _ROLE),
    Family("step_rows", COUNTER, "New tokens in these passes.", _ROLE),
    Family("failed_sessions", COUNTER, "Sessions given up for an error in a step.", _ROLE),
    Family("kv_held_tokens", GAUGE, "Room in the key-value cache that sessions hold.", _ROLE),
    Family("kv_idle_tokens", GAUGE, "Room kept for texts that begin alike, given up when needed.", _ROLE),
    Family("kv_room_tokens", GAUGE, "Room in the whole key-value cache.", _ROLE),
    Family("prefix_found_tokens", COUNTER, "Tokens of prompts that were in the cache.", _ROLE),
    Family("prefix_read_tokens", COUNTER, "Tokens of prompts that were computed.", _ROLE),
    Family("rulings", COUNTER, "Tokens that a head has judged.", _ROLE),
)

Sample = tuple[str, tuple[str, ...], float | Tally]


class Metrics(Collector):
    """Of one gateway, in a registry of its own, beside those of its process."""

    def __init__(
        self,
        version: str,
        modes: Sequence[Mode],
        places: int,
        sessions: Sessions,
        peers: Peers,
        ledger: Ledger | None,
    ) -> None:
        """`modes`: that are served here. `places`: for requests."""
        self._version = version
        self._modes = modes
        self._places = places
        self._sessions = sessions
        self._peers = peers
        self._ledger = ledger
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def text(self, accept: str) -> tuple[bytes, str]:
        """What is served to whoever sends this `Accept` header, and its content type. From any thread."""
        encode, kind = choose_encoder(accept)
        return encode(self._registry), kind

    def describe(self) -> Iterator[Metric]:
        """The names, for the registry."""
        yield from map(_metric, FAMILIES)

    def collect(self) -> Iterator[Metric]:
        """All of them, with whatever samples there are."""
        metrics = {family.name: _metric(family) for family in FAMILIES}
        for name, labels, value in self._samples():
            _add(metrics[name], labels, value)
        yield from metrics.values()

    def _samples(self) -> Iterator[Sample]:
        yield "build_info", (self._version,), 1
        yield from self._of_requests()
        yield from self._of_ledger()
        yield from self._of_router()
        yield from self._of_roles()

    def _of_requests(self) -> Iterator[Sample]:
        sessions = self._sessions
        yield "running_requests", (), sessions.running
        yield "waiting_requests", (), sessions.waiting
        yield "places", (), self._places
        yield "streams", (), sessions.streams
        yield "queue_wait_estimate_seconds", (), sessions.wait_seconds
        for reason, count in list(sessions.measures.refusals.items()):
            yield "refusals", (reason,), count
        for kind, count in list(sessions.measures.failovers.items()):
            yield "failovers", (kind,), count
        for name in self._modes:
            mode, label = sessions.measures.modes[name], name.value
            yield "request_seconds", (label,), mode.total
            yield "queue_wait_seconds", (label,), mode.queue
            yield "time_to_first_token_seconds", (label,), mode.first
            yield "inter_token_seconds", (label,), mode.between
            yield "large_share", (label,), mode.large
            yield "prompt_tokens", (label,), mode.prompt
            yield "drafted_tokens", (label,), mode.drafted
            yield "consults", (label,), mode.consults
            for speaker, count in zip(SPEAKERS, mode.spoken, strict=True):
                yield "committed_tokens", (label, speaker.value), count
            for finish, count in list(mode.finished.items()):
                yield "requests", (label, finish), count

    def _of_ledger(self) -> Iterator[Sample]:
        if self._ledger is not None:
            yield "ledger_up", (), self._ledger.there
            yield "ledger_waiting_requests", (), self._ledger.waiting
            yield "ledger_given_up", (), self._ledger.given_up

    def _of_router(self) -> Iterator[Sample]:
        router = self._peers.router
        yield "router_up", (), router is not None
        if router is None:
            return
        me = str(router.replica)
        yield "router_sessions", (me,), router.sessions
        yield "consult_backlog", (me,), router.backlog
        yield "draft_budget", (me,), router.budgets
        for i, (judged, accepted) in enumerate(zip(router.judged, router.accepted, strict=True), 1):
            yield "judged_guesses", (me, str(i)), judged
            yield "accepted_guesses", (me, str(i)), accepted
        for role, count in list(router.lost.items()):
            yield "peers_lost", (me, role), count

    def _of_roles(self) -> Iterator[Sample]:
        # One that has taken another's place was met after it: a number is told once.
        for (role, replica), peer in {(p.role, str(p.replica)): p for p in self._peers.roster}.items():
            who = role, replica
            yield "role_up", who, 1
            yield "role_sessions", who, peer.sessions
            yield "role_memory_bytes", who, peer.memory_bytes
            if role == "head":
                yield "rulings", who, peer.rulings
            if (figures := peer.figures) is None:
                continue
            yield "step_seconds", who, figures.steps
            yield "step_rows", who, figures.rows
            yield "failed_sessions", who, figures.failed
            if figures.kv_room:
                yield "kv_held_tokens", who, figures.kv_held
                yield "kv_idle_tokens", who, peer.idle_tokens
                yield "kv_room_tokens", who, figures.kv_room
                yield "prefix_found_tokens", who, figures.found
                yield "prefix_read_tokens", who, figures.read


def _metric(family: Family) -> Metric:
    kinds = {COUNTER: CounterMetricFamily, GAUGE: GaugeMetricFamily, HISTOGRAM: HistogramMetricFamily}
    metric: Metric = kinds[family.kind](f"ringroad_{family.name}", family.help, labels=family.labels)
    return metric


def _add(metric: Metric, labels: tuple[str, ...], value: float | Tally) -> None:
    if not isinstance(value, Tally):
        metric.add_metric(labels, value)  # type: ignore[attr-defined]  # each kind has its own
        return
    sofar, buckets = 0, []
    for bound, count in zip([*map(str, value.bounds), "+Inf"], list(value.counts), strict=True):
        sofar += count
        buckets.append((bound, sofar))
    metric.add_metric(labels, buckets, value.sum)  # type: ignore[attr-defined]
