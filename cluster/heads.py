"""Which learned router serves a pair of models: found and looked at before anything starts."""

import logging
from importlib.resources import files
from pathlib import Path

from ringroad.actors.engine.weights import fingerprint, open_weights
from ringroad.actors.head.card import Card, check, metadata
from ringroad.actors.head.config import AUTO
from ringroad.actors.router.policies import LEARNED
from ringroad.cluster.config import ClusterConfig, ConfigError
from ringroad.cluster.models import locate

log = logging.getLogger(__name__)

SHIPPED = Path(str(files("ringroad.actors.head"))) / "shipped"


def with_head(config: ClusterConfig) -> ClusterConfig:
    """The configuration with the head of its models by name, or none (""), and with that head's threshold
    where the router's own policy is the learned one and has none.

    Raises HeadError for a file that is damaged or another pair's, ConfigError where no head can do what is
    asked for.
    """
    path = _found(config)
    default = config.router.policy
    if not path:
        if default.name == LEARNED:
            raise ConfigError(f"router.policy: {LEARNED} needs a head, and there is none for these models")
        return _with(config, "head", path="")
    card = metadata(located(path))
    if card.small_weights != config.drafter.weights:
        log.warning("the head was trained on %s weights of the small model", card.small_weights)
    if default.name == LEARNED and default.threshold is None and default.share is None:
        policy = default.model_copy(update={"threshold": card.threshold})
        config = _with(config, "router", policy=policy)
    return _with(config, "head", path=path)


def card_of(config: ClusterConfig) -> Card | None:
    """The card of the head that `with_head` has found."""
    return metadata(located(config.head.path)) if config.head.path else None


def located(path: str) -> Path:
    """The file of a shipped head by its name, or of any by its path."""
    shipped = SHIPPED / path
    return shipped if Path(path).name == path and shipped.is_file() else Path(path)


def _found(config: ClusterConfig) -> str:
    wanted = config.head.path
    if not config.drafter.model:
        if wanted in ("", AUTO):
            return ""
        raise ConfigError("head.path: there is no small model to be judged")
    candidates = sorted(each.name for each in SHIPPED.glob("*.safetensors")) if wanted == AUTO else [wanted]
    if not wanted or not candidates:
        return ""
    small = fingerprint(open_weights(locate(config.drafter.model), config.drafter.layers))
    large = fingerprint(open_weights(locate(config.verifier.model)))
    if wanted != AUTO:
        check(metadata(located(wanted)), small, large, located(wanted))
        return wanted if located(wanted).parent == SHIPPED else str(located(wanted).resolve())
    cards = {name: metadata(SHIPPED / name) for name in candidates}
    fitting = [name for name, card in cards.items() if (card.small, card.large) == (small, large)]
    if not fitting:
        log.info("no shipped head is for %s and %s", config.drafter.model, config.verifier.model)
    return fitting[0] if fitting else ""


def _with(config: ClusterConfig, room: str, **changes: object) -> ClusterConfig:
    return config.model_copy(update={room: getattr(config, room).model_copy(update=changes)})
