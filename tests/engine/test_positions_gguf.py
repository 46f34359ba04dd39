"""What a GGUF file's keys and tensors say of positions, and which are refused."""

import math
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from ringroad.actors.engine.weights import open_weights
from ringroad.actors.errors import ModelError
from ringroad.actors.gguf_file import GgufFile
from ringroad.actors.positions import Positions, from_gguf
from ringroad.kernels.layers import frequencies
from ringroad.kernels.scaling import Divided, Linear, Yarn
from tests.engine.test_positions import LLAMA3, LONG, config_of


def header(path: Path, *tensors: tuple[str, np.ndarray], **keys: Any) -> GgufFile:
    """A GGUF file with the keys that a Qwen2's shape needs, and these of rope.scaling."""
    writer = gguf.GGUFWriter(path, "qwen2")
    writer.add_block_count(0)
    writer.add_embedding_length(64)
    writer.add_head_count(4)
    writer.add_feed_forward_length(96)
    writer.add_context_length(32768)
    writer.add_rope_freq_base(1e6)
    writer.add_layer_norm_rms_eps(1e-5)
    for key, value in keys.items():
        add = {
            str: writer.add_string,
            float: writer.add_float32,
            int: writer.add_uint32,
            bool: writer.add_bool,
        }
        add[type(value)](f"qwen2.rope.scaling.{key}", value)
    for name, tensor in (("token_embd.weight", np.zeros((32, 64), np.float32)), *tensors):
        writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return GgufFile(path)


YARN_KEYS: dict[str, Any] = {"type": "yarn", "factor": 4.0, "original_context_length": 32768}
MAGNITUDE = 0.1 * math.log(4) + 1


@pytest.mark.parametrize(
    ("keys", "context", "scaling"),
    [
        ({}, 32768, None),
        ({"type": "none"}, 32768, None),
        ({"type": "none", "factor": 4.0}, 32768, None),
        ({"type": "linear", "factor": 4.0, "original_context_length": 8192}, 32768, Linear(4.0)),
        (YARN_KEYS, LONG, Yarn(4.0, 32768, MAGNITUDE)),
        (YARN_KEYS | {"finetuned": True, "yarn_ext_factor": 1.0}, LONG, Yarn(4.0, 32768, MAGNITUDE)),
        (YARN_KEYS | {"attn_factor": 0.5}, LONG, Yarn(4.0, 32768, 0.5 * MAGNITUDE)),
        (
            YARN_KEYS | {"yarn_beta_fast": 16.0, "yarn_beta_slow": 2.0},
            LONG,
            Yarn(4.0, 32768, MAGNITUDE, 16.0, 2.0),
        ),
    ],
)
def test_what_gguf_keys_say(tmp_path: Path, keys: dict[str, Any], context: int, scaling: Any) -> None:
    file = header(tmp_path / "m.gguf", **keys)
    assert from_gguf(file) == Positions(context, 1e6, scaling)
    shape = open_weights(tmp_path / "m.gguf").shape
    assert (shape.context, shape.theta, shape.scaling) == (context, 1e6, scaling)


def test_llama3_is_a_tensor_in_gguf(tmp_path: Path) -> None:
    """Its divisors, made here from transformers' frequencies, give these back."""
    config = config_of(LLAMA3, 16, 1e6)
    expected, _ = ROPE_INIT_FUNCTIONS["llama3"](config, torch.device("cpu"))
    divisors = (frequencies(16, 1e6) / expected).numpy()
    header(tmp_path / "m.gguf", ("rope_freqs.weight", divisors))
    scaling = open_weights(tmp_path / "m.gguf").shape.scaling
    assert isinstance(scaling, Divided)
    torch.testing.assert_close(frequencies(16, 1e6, scaling), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        ({"type": "longrope", "factor": 4.0}, "longrope"),
        ({"type": "yarn", "original_context_length": 4096}, "factor is missing"),
        ({"type": "yarn", "factor": 4.0}, "original_max_position_embeddings is missing"),
        ({"type": "linear"}, "factor is missing"),
        ({"factor": 4.0}, "factor without a type"),
        ({"attn_factor": 1.2}, "attn_factor"),
        (YARN_KEYS | {"yarn_log_multiplier": 0.1}, "yarn_log_multiplier"),
        (YARN_KEYS | {"yarn_ext_factor": 0.5}, "yarn_ext_factor"),
        (YARN_KEYS | {"surprise": 0.5}, "surprise"),
    ],
)
def test_gguf_keys_that_are_refused(tmp_path: Path, keys: dict[str, Any], named: str) -> None:
    with pytest.raises(ModelError, match=named):
        from_gguf(header(tmp_path / "m.gguf", **keys))


@pytest.mark.parametrize("divisors", [np.ones(7), np.full(8, 0.0), np.full(8, np.nan)])
def test_divisors_that_are_none_are_refused(tmp_path: Path, divisors: np.ndarray) -> None:
    header(tmp_path / "m.gguf", ("rope_freqs.weight", divisors.astype(np.float32)))
    with pytest.raises(ModelError, match="rope_freqs"):
        _ = open_weights(tmp_path / "m.gguf").shape


def test_keys_and_divisors_at_once_are_refused(tmp_path: Path) -> None:
    header(tmp_path / "m.gguf", ("rope_freqs.weight", np.ones(8, np.float32)), **YARN_KEYS)
    with pytest.raises(ModelError, match="at once"):
        _ = open_weights(tmp_path / "m.gguf").shape


# --- config.json that is refused --------------------------------------------------------------------
