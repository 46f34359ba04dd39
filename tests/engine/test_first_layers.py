"""A model of the first layers: nothing but these is there, and they say what they say alone."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ringroad.actors.engine.engine import Engine, Work
from ringroad.actors.engine.model import Model
from ringroad.actors.engine.weights import FirstLayers, open_weights
from ringroad.actors.errors import ModelError
from ringroad.actors.messages import Sampling
from ringroad.kernels.linear import Weights
from tests.engine.test_weights import write_gguf
from tests.engine.tiny import SHAPE, TinyWeights, bits, prompt

DEEP = replace(SHAPE, layers=4)
KINDS: list[Weights] = ["fp32", "bf16", "int4"]


class Watched(TinyWeights):
    """Remembers what was read."""

    def __init__(self) -> None:
        super().__init__(DEEP)
        self.seen: set[str] = set()

    def read(self, name: str, dtype: torch.dtype) -> torch.Tensor:
        self.seen.add(name)
        return super().read(name, dtype)


def said(model: Model) -> tuple[object, torch.Tensor]:
    engine = Engine(model)
    engine.open("s", Sampling(3, 0.8))
    outcome = engine.step([Work("s", prompt(30), answers=30, features=True)])[0]
    return outcome, bits(engine._sessions["s"].cache)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layers", [1, 2, 3, 4])
def test_equals_a_model_made_of_these_layers_alone(kind: Weights, layers: int) -> None:
    """The tiny weights of fewer layers are those of the first."""
    outcome, kept = said(Model(FirstLayers(TinyWeights(DEEP), layers), kind, threads=1))
    expected, theirs = said(Model(TinyWeights(replace(SHAPE, layers=layers)), kind, threads=1))
    assert outcome == expected
    assert torch.equal(kept, theirs)
    assert kept.shape[1] == layers, "keys and values of what is there"
    whole, _ = said(Model(TinyWeights(DEEP), kind, threads=1))
    assert (outcome == whole) == (layers == DEEP.layers)


def test_only_these_layers_are_read() -> None:
    weights = Watched()
    model = Model(FirstLayers(weights, 2), "bf16", threads=1)
    assert len(model.layers) == 2
    assert {name.split(".")[2] for name in weights.seen if name.startswith("model.layers.")} == {"0", "1"}
    assert {"model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"} < weights.seen


@pytest.mark.parametrize("layers", [-1, 0, 5])
def test_layers_that_are_not_there_are_refused(layers: int) -> None:
    with pytest.raises(ModelError, match=f"layers: the model has 4, not {layers}"):
        FirstLayers(TinyWeights(DEEP), layers)


def test_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "tiny.gguf"
    write_gguf(file)
    assert open_weights(file, 1).shape == replace(open_weights(file).shape, layers=1)
    with pytest.raises(ModelError, match="layers: the model has 2, not 3"):
        open_weights(file, 3)
