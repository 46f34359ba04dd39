"""Weights of a file as its codes: what a tensor says, and a model with the same bits."""

from pathlib import Path

import pytest
import torch

from ringroad.actors.engine.engine import Engine, Work
from ringroad.actors.engine.model import Model
from ringroad.actors.engine.weights import open_weights
from ringroad.actors.messages import Sampling
from ringroad.kernels.native.library import BF16, CODED8, library
from ringroad.kernels.native.linear import Packed
from tests.engine.test_weights import write_folder, write_gguf
from tests.engine.tiny import prompt


def test_codes_are_what_a_tensor_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = write_gguf(tmp_path / "tiny.gguf")
    monkeypatch.setattr("ringroad.actors.engine.weights.SLICE", 1000)
    file = open_weights(tmp_path / "tiny.gguf")
    folder = open_weights(write_folder(tmp_path / "folder", stored))
    for name, tensor in stored.items():
        codes = file.codes(name)
        assert (codes is None) == (tensor.dim() == 1), name
        assert codes is None or torch.equal(codes.weight(torch.float32), tensor), name
        assert folder.codes(name) is None
    assert open_weights(tmp_path / "tiny.gguf", layers=1).codes("lm_head.weight") is not None


@pytest.mark.skipif(library() is None, reason="no AVX-512 bf16, or the kernels were not built")
def test_a_model_of_codes_has_the_bits_of_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_gguf(tmp_path / "tiny.gguf")
    weights = open_weights(tmp_path / "tiny.gguf")
    coded = Model(weights, "bf16", threads=1)
    monkeypatch.setattr(weights, "codes", lambda name: None)
    plain = Model(weights, "bf16", threads=1)
    layers = [
        (each.head, *(part for at in each.layers for part in (at.qkv, at.out, at.gate_up, at.down)))
        for each in (coded, plain)
    ]
    assert all(isinstance(layer, Packed) and layer.descriptor.kind == CODED8 for layer in layers[0])
    assert all(isinstance(layer, Packed) and layer.descriptor.kind == BF16 for layer in layers[1])
    seen = []
    for model in (coded, plain):
        engine = Engine(model)
        engine.open("s", Sampling(seed=3, temperature=1.0))
        seen.append(engine.step([Work("s", prompt(60), answers=60, distributions=True)])[0].distributions)
    assert torch.equal(seen[0], seen[1])
