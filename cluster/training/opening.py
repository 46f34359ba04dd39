"""Both models of a configuration as they are served, in one process."""

from ringroad.actors.tokenizer import Tokenizer
from ringroad.cluster.config import ClusterConfig
from ringroad.cluster.models import locate
from ringroad.cluster.roles import engine
from ringroad.cluster.training.collecting import Pair
from ringroad.kernels.head import Head


def open_pair(config: ClusterConfig, head: Head | None = None) -> Pair:
    """Raises ModelError or ModelNotCached."""
    tokenizer = Tokenizer.open(locate(config.verifier.model))
    return Pair(engine(config.verifier), engine(config.drafter, config.drafter.layers, head), tokenizer)
