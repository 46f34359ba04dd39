"""The roles as Ray Serve deployments: Ray places, watches and restarts them, and carries no tokens.

Each is a thin shell: it starts the plain role's loop on a thread (the gateway on Serve's own event
loop) and answers Serve's health checks. They find the routers through the directory's handle.
"""

import asyncio
import logging
import os
import threading
import uuid
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from typing import Any

from ray import serve
from ray.serve.config import GangSchedulingConfig
from ray.serve.gang import GangContext
from ray.serve.handle import DeploymentHandle

from ringroad.actors.channel import Pulse
from ringroad.actors.channel.async_spoke import AsyncSpoke
from ringroad.actors.channel.hub import Hub
from ringroad.actors.channel.spoke import Spoke
from ringroad.actors.drafter.config import DrafterConfig
from ringroad.actors.gateway.config import Pair, Policies
from ringroad.actors.gateway.server import Gateway
from ringroad.actors.head.config import HeadConfig
from ringroad.actors.hosting import run_role, run_router
from ringroad.actors.ledger.store import open_ledger
from ringroad.actors.role import Role
from ringroad.actors.router.policies import LEARNED, offered
from ringroad.actors.tokenizer import Tokenizer
from ringroad.actors.verifier.config import VerifierConfig
from ringroad.actors.verifier.verifier import Verifier
from ringroad.cluster import gangs
from ringroad.cluster.config import ClusterConfig
from ringroad.cluster.directory import ANSWER_SECONDS, Directory, Entry
from ringroad.cluster.heads import card_of
from ringroad.cluster.models import locate
from ringroad.cluster.replica import own_number, prepare
from ringroad.cluster.roles import RoleConfig, build, build_rank, context, place, threads_of
from ringroad.cluster.version import version

log = logging.getLogger(__name__)

# A waiting OpenMP thread spins for some 100 microseconds, which outlasts the gap between two layers,
# and then sleeps, which leaves the core to the role whose turn it is.
SPIN = "200000"
# Of a CPU, for what does not compute: a head node that offers no CPUs is to be left alone.
SLIVER = 0.001
# Two applications, since gateways are to end before those they need.
ROLES, GATEWAYS = "ringroad", "ringroad-gateways"


class Worker:
    """A thread that runs a role; what Serve sees of it is whether it lives."""

    def __init__(self, work: Callable[[threading.Event, threading.Event], None]) -> None:
        """Calls `work(ready, stop)` on a thread and returns when it has set `ready`."""
        self._stop = threading.Event()
        self._error: BaseException | None = None
        ready = threading.Event()

        def run() -> None:
            try:
                work(ready, self._stop)
            except BaseException as error:  # the outer edge: Serve hears of it in check_health
                self._error = error
                log.exception("a role ended")
                raise
            finally:
                ready.set()

        self._thread = threading.Thread(target=run, name="role", daemon=True)
        self._thread.start()
        ready.wait()
        self.check_health()

    def check_health(self) -> None:
        """Raises RuntimeError when the role has ended."""
        if not self._thread.is_alive():
            raise RuntimeError("the role has ended") from self._error

    def close(self) -> None:
        """Ends the role, which may take its time to leave."""
        self._stop.set()
        self._thread.join()


class DirectoryDeployment(Directory):
    """What everybody finds the routers by."""

    def __init__(self, config: ClusterConfig) -> None:
        prepare(config)
        super().__init__()


class RouterDeployment:
    """A hub."""

    def __init__(
        self, config: ClusterConfig, directory: DeploymentHandle[Any], *roles: DeploymentHandle[Any]
    ) -> None:
        """`roles` are named for Serve, which deploys what an application's ingress refers to."""
        prepare(config)

        def work(ready: threading.Event, stop: threading.Event) -> None:
            card = card_of(config)
            known = None if card is None else {LEARNED: [], **card.quantiles}
            with closing(Hub(config.host)) as hub:
                self._entry = Entry(
                    partial(_ask, directory.here, hub.address), partial(_ask, directory.left, hub.address)
                )
                ready.set()
                with closing(self._entry):
                    run_router(hub, config.router, stop, known, config.gateway.grace_seconds, own_number())

        self._worker = Worker(work)

    def check_health(self) -> None:
        """Asked by Serve."""
        self._worker.check_health()

    async def __del__(self) -> None:
        # First, so that those who leave other routers do not come here.
        await asyncio.to_thread(self._entry.close)
        await asyncio.to_thread(self._worker.close)


class RoleDeployment:
    """A drafter or a verifier with a model of its own, or the learned head."""

    def __init__(
        self,
        config: ClusterConfig,
        mine: RoleConfig,
        directory: DeploymentHandle[Any],
    ) -> None:
        prepare(config)

        def speak(role: Role, ready: threading.Event, stop: threading.Event) -> None:
            routers = partial(_ask, directory.routers)
            with closing(Spoke(routers, role.hello, place(mine), _pulse(config), own_number())) as spoke:
                ready.set()
                run_role(role, spoke, stop, config.gateway.grace_seconds)

        def work(ready: threading.Event, stop: threading.Event) -> None:
            if mine.cores:
                os.sched_setaffinity(0, mine.cores)  # before torch starts threads that inherit it
            speak(build(config, mine), ready, stop)

        def work_in_gang(gang: GangContext, ready: threading.Event, stop: threading.Event) -> None:
            assert isinstance(mine, VerifierConfig)
            own = gangs.of_rank(mine, gang.rank)
            if own.cores:
                os.sched_setaffinity(0, own.cores)
            meeting = partial(_ask, directory.meeting)
            joined, rank = build_rank(own, lambda: gangs.join(own, config.host, gang, meeting))
            with closing(joined):
                if isinstance(rank, Verifier):
                    speak(rank, ready, stop)
                else:
                    ready.set()
                    rank.follow(joined.heard(stop, config.gateway.grace_seconds))

        gang = gangs.context()
        self._worker = Worker(work if gang is None else partial(work_in_gang, gang))

    def check_health(self) -> None:
        """Asked by Serve."""
        self._worker.check_health()

    async def __del__(self) -> None:
        await asyncio.to_thread(self._worker.close)


def _ask(method: Any, *words: str) -> Any:
    """What the directory answers. Not on an event loop."""
    return method.remote(*words).result(timeout_s=ANSWER_SECONDS)


def _pulse(config: ClusterConfig) -> Pulse:
    return Pulse(config.router.heartbeat_seconds, config.router.lost_after_seconds)


class GatewayDeployment:
    """The gRPC server, on a port of its own rather than behind Serve's proxy (docs/decisions/0002)."""

    async def __init__(  # type: ignore[misc]  # Serve awaits it
        self, config: ClusterConfig
    ) -> None:
        prepare(config)
        directory = serve.get_deployment_handle("directory", ROLES)

        async def routers() -> Sequence[str]:
            there: list[str] = await directory.in_turn.remote()
            return there

        tokenizer = Tokenizer.open(locate(config.verifier.model))
        both: list[tuple[VerifierConfig | DrafterConfig, Tokenizer]] = [(config.verifier, tokenizer)]
        if config.drafter.model:
            both.append((config.drafter, Tokenizer.open(locate(config.drafter.model))))
        pair = Pair(
            name=config.name,
            large=config.verifier.model,
            small=config.drafter.model,
            context_length=min(context(role, each) for role, each in both),
            vocabulary=min(each.vocabulary for _, each in both),
        )
        card = card_of(config)
        policies = Policies(config.router.policy.name, offered(card.threshold if card is not None else None))
        self._ledger = open_ledger(config.ledger, uuid.uuid4().hex)
        for number, port in enumerate(config.gateway.ports):
            mine = config.gateway.of_replica(number)
            link = AsyncSpoke(routers, _pulse(config))
            self._gateway = Gateway(mine, pair, tokenizer, link, policies, version(), self._ledger)
            try:
                return await self._gateway.start()
            except RuntimeError as error:  # another replica's, or a stranger's
                log.info("port %d is taken: %s", port, error)
        raise RuntimeError(f"gateway.port: {', '.join(map(str, config.gateway.ports))}: taken")

    async def check_health(self) -> None:
        """Asked by Serve."""
        self._gateway.check_health()

    async def __del__(self) -> None:
        await self._gateway.stop()
        if self._ledger:
            await self._ledger.close()


def applications(config: ClusterConfig) -> dict[str, serve.Application]:
    """What Serve is to run, by name."""

    def deployed(name: str, shell: type[Any], replicas: int = 1, **options: Any) -> Any:
        return serve.deployment(
            name=name,
            num_replicas=replicas,
            health_check_period_s=config.ray.health_check_seconds,
            health_check_timeout_s=config.ray.health_timeout_seconds,
            graceful_shutdown_wait_loop_s=0.1,
            graceful_shutdown_timeout_s=config.gateway.grace_seconds + 2,
            max_ongoing_requests=100,
            **options,
        )(shell)

    def role(name: str, mine: RoleConfig) -> Any:
        deployment = deployed(
            name,
            RoleDeployment,
            mine.replicas * _ranks(mine),
            ray_actor_options=_resources(mine),
            gang_scheduling_config=GangSchedulingConfig(gang_size=_ranks(mine)) if _ranks(mine) > 1 else None,
        )
        return deployment.bind(config, mine, directory)

    weightless: dict[str, Any] = {"ray_actor_options": {"num_cpus": SLIVER}}
    directory = deployed("directory", DirectoryDeployment, **weightless).bind(config)
    router = deployed("router", RouterDeployment, config.router.replicas, **weightless)
    gateway = deployed("gateway", GatewayDeployment, config.gateway.replicas, **weightless)
    roles = (role(*each) for each in _rooms(config).items())
    return {ROLES: router.bind(config, directory, *roles), GATEWAYS: gateway.bind(config)}


def places(config: ClusterConfig) -> int:
    """How many CPUs are asked of Ray, all replicas together."""
    return 1 + sum(mine.replicas * _ranks(mine) * _cpus(mine) for mine in _rooms(config).values())


def _ranks(mine: RoleConfig) -> int:
    """Processes that are one role together."""
    return mine.ring.ranks if isinstance(mine, VerifierConfig) else 1


def _cpus(mine: RoleConfig) -> int:
    """Of each of its processes."""
    if isinstance(mine, VerifierConfig) and mine.ring.cores:
        return max(map(len, mine.ring.cores))
    return len(mine.cores) or 1


def _rooms(config: ClusterConfig) -> dict[str, RoleConfig]:
    """The roles that compute, by name."""
    rooms: dict[str, RoleConfig] = {"verifier": config.verifier, "drafter": config.drafter}
    if config.head.path and config.head.placement == "own":
        rooms["head"] = config.head
    return rooms


def _resources(mine: RoleConfig) -> dict[str, Any]:
    environment = {"OMP_NUM_THREADS": str(threads_of(mine)), "GOMP_SPINCOUNT": SPIN}
    gpus = mine.gpus if isinstance(mine, HeadConfig) else 0 if mine.device == "cpu" else 1
    return {"num_cpus": _cpus(mine), "num_gpus": gpus, "runtime_env": {"env_vars": environment}}
