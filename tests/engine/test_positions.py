"""Positions of scaled models: turned as transformers turns them, and what is not understood is refused."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from ringroad.actors.engine.model import Model
from ringroad.actors.engine.weights import open_weights
from ringroad.actors.errors import ModelError
from ringroad.actors.positions import Positions, from_config
from ringroad.kernels.layers import frequencies, rotary_table
from ringroad.kernels.scaling import Llama3, Yarn
from tests.engine.test_transformers import BASE, logits_of
from tests.engine.test_weights import tensors, write_folder
from tests.engine.tiny import SHAPE

LONG = 131072
YARN: dict[str, Any] = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}
LLAMA3: dict[str, Any] = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
SCALINGS: dict[str, dict[str, Any]] = {
    "default": {"rope_type": "default"},
    "linear": {"rope_type": "linear", "factor": 2.5},
    "dynamic": {"rope_type": "dynamic", "factor": 4.0},
    "llama3": LLAMA3,
    "llama3.2": LLAMA3 | {"factor": 32.0},
    "yarn": YARN,
    "yarn-attention": YARN | {"attention_factor": 0.8},
    "yarn-mscale": YARN | {"mscale": 1.0, "mscale_all_dim": 0.7},
    "yarn-betas": YARN | {"beta_fast": 16.0, "beta_slow": 2.0},
    "yarn-untruncated": YARN | {"factor": 32.0, "original_max_position_embeddings": 4096, "truncate": False},
    "yarn-40": YARN | {"factor": 40.0, "original_max_position_embeddings": 4096},
}


def config_of(scaling: dict[str, Any], dim: int, theta: float) -> transformers.LlamaConfig:
    return transformers.LlamaConfig(
        hidden_size=4 * dim,
        num_attention_heads=4,
        max_position_embeddings=LONG,
        rope_parameters=dict(scaling) | {"rope_theta": theta},
    )


@pytest.mark.parametrize(("dim", "theta"), [(64, 1e4), (128, 1e6), (32, 5e5)])
@pytest.mark.parametrize("name", SCALINGS)
def test_positions_are_turned_as_transformers_turns_them(name: str, dim: int, theta: float) -> None:
    config = config_of(SCALINGS[name], dim, theta)
    found = from_config(Path("model"), config.to_dict())
    assert (found.context, found.theta) == (max(LONG, 163840 * (name == "yarn-40")), theta)
    theirs = LlamaRotaryEmbedding(config)
    positions = torch.cat([torch.arange(0, 300), torch.arange(4000, LONG, 997), torch.tensor([LONG - 1])])
    cos, sin = theirs(torch.empty(1, dtype=torch.float32), positions[None])
    our_cos, our_sin = rotary_table(LONG, dim, theta, found.scaling)
    half = dim // 2
    torch.testing.assert_close(our_cos[positions, 0], cos[0], rtol=0, atol=1e-6)
    torch.testing.assert_close(our_sin[positions, 0, half:], sin[0, :, half:], rtol=0, atol=1e-6)
    torch.testing.assert_close(our_sin[positions, 0, :half], -sin[0, :, :half], rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", [name for name in SCALINGS if name != "default"])
def test_frequencies_are_those_of_transformers(name: str) -> None:
    config = config_of(SCALINGS[name], 128, 1e6)
    found = from_config(Path("model"), config.to_dict()).scaling
    expected, attention = ROPE_INIT_FUNCTIONS[SCALINGS[name]["rope_type"]](config, torch.device("cpu"))
    assert torch.equal(frequencies(128, 1e6, found), expected)
    assert (found.magnitude if isinstance(found, Yarn) else 1.0) == pytest.approx(attention, rel=1e-12)


def test_a_scaled_model_is_not_the_plain_one() -> None:
    plain = frequencies(64, 1e4)
    for name, scaling in SCALINGS.items():
        found = from_config(Path("model"), config_of(scaling, 64, 1e4).to_dict()).scaling
        assert torch.equal(frequencies(64, 1e4, found), plain) == (name in ("default", "dynamic")), name


def test_a_tables_beginning_does_not_depend_on_its_length() -> None:
    yarn = Yarn(4.0, 32768, 1.1)
    long = rotary_table(10_000, 64, 1e6, yarn)
    for length in (1, 63, 4096, 4097):
        for part, whole in zip(rotary_table(length, 64, 1e6, yarn), long, strict=True):
            assert torch.equal(part, whole[:length])


# --- a model, end to end --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "scaling",
    [
        {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64},
        LLAMA3 | {"factor": 4.0, "original_max_position_embeddings": 64},
        {"rope_type": "linear", "factor": 4.0},
        {"rope_type": "dynamic", "factor": 4.0},
    ],
    ids=lambda scaling: scaling["rope_type"],
)
def test_a_scaled_model_says_what_transformers_says(tmp_path: Path, scaling: dict[str, Any]) -> None:
    torch.manual_seed(6)
    config = transformers.Qwen2Config(**BASE, rope_parameters=scaling | {"rope_theta": 1e4})
    theirs = transformers.AutoModelForCausalLM.from_config(config).eval()
    theirs.save_pretrained(tmp_path)
    tokens = torch.randint(0, 160, (256,)).tolist()  # all of its context
    with torch.inference_mode():
        expected = theirs(torch.tensor([tokens])).logits[0]
    weights = open_weights(tmp_path)
    assert weights.shape.context == 256
    found = logits_of(Model(weights, "fp32", threads=1), tokens)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


# --- how long a text may be -----------------------------------------------------------------------


def test_yarn_gives_the_context_that_the_cards_promise() -> None:
    """People add rope_scaling to Qwen2.5's config.json, and leave its max_position_embeddings of 32768."""
    old = {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}
    found = from_config(
        Path("qwen"), {"max_position_embeddings": 32768, "rope_theta": 1e6, "rope_scaling": old}
    )
    assert found == Positions(LONG, 1e6, Yarn(4.0, 32768, 0.1 * math.log(4) + 1))


@pytest.mark.parametrize("scaling", [YARN, LLAMA3], ids=["yarn", "llama3"])
def test_the_original_context_may_stand_outside_and_counts_first(scaling: dict[str, Any]) -> None:
    said = {
        "max_position_embeddings": LONG,
        "original_max_position_embeddings": 1024,
        "rope_scaling": scaling,
    }
    found = from_config(Path("model"), said).scaling
    assert isinstance(found, Yarn | Llama3)
    assert found.original == 1024


@pytest.mark.parametrize("name", ["linear", "dynamic", "llama3"])
def test_other_scalings_give_what_the_config_says(name: str) -> None:
    said = {"max_position_embeddings": 16384, "rope_scaling": SCALINGS[name]}
    assert from_config(Path("model"), said).context == 16384


def test_an_operator_can_ask_for_yarn(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "plain", tensors())
    plain, yarn = open_weights(folder), open_weights(folder, yarn_factor=2.0)
    by_hand = {"rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": SHAPE.context}
    said = write_folder(tmp_path / "said", tensors(), rope_scaling=by_hand)
    assert yarn.shape == open_weights(said).shape
    assert yarn.shape == replace(plain.shape, context=2 * SHAPE.context, scaling=yarn.shape.scaling)
    assert open_weights(folder, layers=1, yarn_factor=2.0).shape == replace(yarn.shape, layers=1)
    with pytest.raises(ModelError, match="scales its positions itself"):
        open_weights(said, yarn_factor=2.0)


# --- GGUF -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"rope_scaling": {"type": "longrope", "factor": 2.0}}, "longrope"),
        ({"rope_scaling": {"type": "su", "factor": 2.0}}, "su"),
        ({"rope_parameters": {"rope_type": "proportional"}}, "proportional"),
        ({"rope_scaling": {"rope_type": "default", "mrope_section": [1, 2]}}, "mrope_section"),
        ({"rope_scaling": {"type": "linear"}}, "factor is missing"),
        ({"rope_scaling": {"type": "dynamic", "factor": None}}, "factor is missing"),
        ({"rope_scaling": {"type": "linear", "factor": 0.5}}, "factor is 0.5"),
        ({"rope_scaling": {"type": "linear", "factor": "4"}}, "factor is '4'"),
        ({"rope_scaling": {"type": "linear", "factor": True}}, "factor is True"),
        ({"rope_scaling": {"type": "linear", "factor": 2.0, "short_factor": [1]}}, "short_factor"),
        ({"rope_scaling": {"type": "yarn", "factor": 4.0}}, "original_max_position_embeddings is missing"),
        ({"rope_scaling": YARN | {"truncate": 1}}, "truncate is 1"),
        ({"rope_scaling": YARN | {"beta_fast": 1.0, "beta_slow": 2.0}}, "beta_slow"),
        ({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, "low_freq_factor is missing"),
        ({"rope_scaling": LLAMA3 | {"high_freq_factor": 1.0}}, "low_freq_factor"),
        ({"rope_parameters": YARN, "rope_scaling": LLAMA3}, "different things"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor"),
        (
            {"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}},
            "partial_rotary_factor",
        ),
        ({"max_position_embeddings": None}, "max_position_embeddings"),
    ],
)
def test_a_config_that_is_refused(tmp_path: Path, changes: dict[str, Any], named: str) -> None:
    with pytest.raises(ModelError, match=named):
        _ = open_weights(write_folder(tmp_path, tensors(), **changes)).shape
