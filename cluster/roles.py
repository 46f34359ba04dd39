"""Builds the plain roles with their models from their configurations. Knows nothing of Ray."""

import os
import socket
from collections.abc import Callable

import torch

from ringroad.actors.drafter.config import CHAIN, DrafterConfig
from ringroad.actors.drafter.free import FreeDrafter
from ringroad.actors.drafter.model import ModelDrafter
from ringroad.actors.drafter.plan import Plan
from ringroad.actors.drafter.shapes import make as shape
from ringroad.actors.drafter.strategies import make as strategy
from ringroad.actors.drafter.strategy import Ensemble
from ringroad.actors.engine.engine import Engine
from ringroad.actors.engine.model import Model
from ringroad.actors.engine.ring.engine import FirstEngine, OtherEngine
from ringroad.actors.engine.ring.gang import Gang
from ringroad.actors.engine.ring.model import RingModel, Way
from ringroad.actors.engine.views import make as view
from ringroad.actors.engine.weights import open_weights
from ringroad.actors.grammars import Grammars
from ringroad.actors.head.config import HeadConfig
from ringroad.actors.head.file import read
from ringroad.actors.head.head import HeadRole
from ringroad.actors.positions import stretched
from ringroad.actors.role import Role
from ringroad.actors.tokenizer import Tokenizer
from ringroad.actors.verifier.config import VerifierConfig
from ringroad.actors.verifier.verifier import Verifier
from ringroad.cluster.config import ClusterConfig, ConfigError
from ringroad.cluster.heads import located
from ringroad.cluster.models import locate
from ringroad.kernels.head import Head
from ringroad.kernels.native import BLOCK
from ringroad.kernels.ring.cost import Device, Link

RoleConfig = DrafterConfig | VerifierConfig | HeadConfig


def check_models(config: ClusterConfig) -> None:
    """Raises ModelNotCached for a model that is missing, ModelError for one that cannot be read as is asked,
    ConfigError for a pair that does not match."""
    large = Tokenizer.open(locate(config.verifier.model))
    _check_yarn(config.verifier)
    if not config.drafter.model:
        return
    small = Tokenizer.open(locate(config.drafter.model))
    _check_yarn(config.drafter)
    if small.fingerprint != large.fingerprint:
        raise ConfigError(
            f"drafter.model: {config.drafter.model} and {config.verifier.model} have different vocabularies"
        )
    reads = context(config.verifier, large), context(config.drafter, small)
    if reads[0] != reads[1] and (config.verifier.yarn_factor or config.drafter.yarn_factor):
        raise ConfigError(
            f"yarn_factor: {config.verifier.model} would read {reads[0]} tokens and {config.drafter.model}"
            f" {reads[1]}; a pair takes no more than both read"
        )


def context(config: DrafterConfig | VerifierConfig, tokenizer: Tokenizer) -> int:
    """Tokens that a role's model reads, as its files and `yarn_factor` say."""
    return stretched(tokenizer.context_length, config.yarn_factor)


def _check_yarn(config: DrafterConfig | VerifierConfig) -> None:
    """Before anything is started; without a factor the tokenizer has looked at the model's own scaling."""
    if config.yarn_factor is not None:
        _ = open_weights(locate(config.model), yarn_factor=config.yarn_factor).shape


def build_verifier(config: VerifierConfig) -> Verifier:
    """The large model, loaded. Raises ModelError or ModelNotCached."""
    return _verifier(engine(config), config)


def build_rank(config: VerifierConfig, join: Callable[[], Gang]) -> tuple[Gang, Verifier | OtherEngine]:
    """The large model, loaded, in its gang: the first rank is the verifier, others do as it does. Raises
    ModelError, ModelNotCached or RingBroken."""
    loaded = model(config)
    gang = join()  # only now, when nobody keeps the others waiting
    rates = config.ring
    link = Link(rates.link_gigabytes * 1e9, rates.link_microseconds * 1e-6)
    way = Way(rates.schedule, link, Device(rates.gigaflops * 1e9, rates.memory_gigabytes * 1e9))
    ring = RingModel(loaded, gang.ring, gang.back, rates.min_tokens, way)
    if gang.rank:
        return gang, OtherEngine(ring, _cache_bytes(config))
    return gang, _verifier(FirstEngine(ring, _cache_bytes(config), gang.tell), config)


def _verifier(rented: Engine, config: VerifierConfig) -> Verifier:
    rented.grammars = _grammars(config)
    return Verifier(rented, config.model, config.prefill_chunk, config.step_tokens)


def build_drafter(config: DrafterConfig, head: Head | None = None) -> Role:
    """The small model, loaded, with strategies beside it; or these alone where there is none.

    head: the learned router, where it is computed here.
    """
    strategies = [strategy(name) for name in config.model_free]
    if not config.model:
        return FreeDrafter(strategies, config.floor)
    plan = Plan(
        free=Ensemble(strategies, config.floor),
        model=config.model_guesses,
        shape=None if config.tree == CHAIN else shape(config.tree),
        passes=config.passes,
        enough=config.enough,
        floor=config.floor,
        vocabulary=config.vocabulary,
        prompt_in_part=config.prompt_in_part,
        two_levels=config.two_levels,
        second_choices=config.second_choices,
    )
    rented = engine(config, config.layers, head)
    rented.grammars = _grammars(config)
    rented.view = view(config.sees, config.sees_tokens // BLOCK)
    return ModelDrafter(rented, config.model, config.prefill_chunk, config.step_tokens, plan=plan)


def build_head(config: HeadConfig) -> HeadRole:
    """The learned router in a process apart. Raises HeadError."""
    torch.set_num_threads(threads_of(config))
    return HeadRole(_head(config, config.device), located(config.path).stem)


def build(config: ClusterConfig, mine: RoleConfig) -> Role:
    """A role by the room of the configuration that is its own."""
    match mine:
        case VerifierConfig():
            return build_verifier(mine)
        case HeadConfig():
            return build_head(mine)
        case _:
            inside = config.head.path and config.head.placement == "drafter"
            return build_drafter(mine, _head(config.head, mine.device) if inside else None)


def threads_of(mine: RoleConfig) -> int:
    """How many threads a role computes with. A head's million weights are not worth a second one."""
    if isinstance(mine, VerifierConfig) and mine.ring.cores and not mine.cores:
        return max(map(len, mine.ring.cores))  # of a rank
    return len(mine.cores) or (1 if isinstance(mine, HeadConfig) else os.cpu_count() or 1)


def place(config: RoleConfig) -> list[str]:
    """Names of the cores or the device that a role computes on: roles that share one take turns."""
    host = socket.gethostname()
    if config.device == "cpu":
        shared = config.ring.cores if isinstance(config, VerifierConfig) else []
        cores = sorted({core for each in shared for core in each}) or config.cores
        return [f"{host} core {core}" for core in cores or sorted(os.sched_getaffinity(0))]
    # Ray shows each role its own devices only, all of them numbered from 0.
    return [f"{host} {config.device} of {os.environ.get('CUDA_VISIBLE_DEVICES', 'all')}"]


def _head(config: HeadConfig, device: str) -> Head:
    return Head(read(located(config.path), device).tensors)


def engine(
    config: DrafterConfig | VerifierConfig, layers: int | None = None, head: Head | None = None
) -> Engine:
    """A model, loaded, of its `layers` the first so many. Raises ModelError or ModelNotCached."""
    return Engine(model(config, layers), _cache_bytes(config), head)


def model(config: DrafterConfig | VerifierConfig, layers: int | None = None) -> Model:
    """What an engine rents. Raises as `engine`."""
    threads = threads_of(config)
    torch.set_num_threads(threads)
    weights = open_weights(locate(config.model), layers, config.yarn_factor)
    return Model(weights, config.weights, threads, config.device)


def _grammars(config: DrafterConfig | VerifierConfig) -> Grammars:
    return Grammars(lambda: Tokenizer.open(locate(config.model)))


def _cache_bytes(config: DrafterConfig | VerifierConfig) -> int:
    return round(config.cache_gigabytes * 1e9)
