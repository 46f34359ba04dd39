"""The decoder against transformers, in fp32: a real model, and tiny ones of every family."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import pytest
import torch
import transformers
from torch import Tensor

from ringroad.actors.engine.cache import Cache
from ringroad.actors.engine.engine import Engine, Work
from ringroad.actors.engine.model import Model, Span
from ringroad.actors.engine.pool import Pool
from ringroad.actors.engine.weights import open_weights
from ringroad.actors.messages import Sampling

BASE: dict[str, Any] = {
    "vocab_size": 160,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "rms_norm_eps": 1e-5,
    "initializer_range": 0.2,
    "bos_token_id": None,
    "eos_token_id": None,
}


def logits_of(model: Model, tokens: list[int]) -> Tensor:
    """Ours after every token: [tokens, vocabulary]."""
    cache = Cache(Pool(model.shape, model.dtype, model.device, max_bytes=10**8))
    count = len(tokens)
    cache.reserve(count)
    with torch.inference_mode():
        hidden = model.forward(torch.tensor(tokens), torch.arange(count), [Span(cache, 0, count)])
        return model.head(hidden)


def greedy_text(model: Model, prompt: list[int], count: int) -> list[int]:
    engine = Engine(model)
    engine.open("s", Sampling())
    text: list[int] = []
    new = prompt
    for _ in range(count):
        new = engine.step([Work("s", new)])[0].tokens
        text += new
    return text


SMOL = transformers.LlamaConfig(
    vocab_size=49152,
    hidden_size=576,
    intermediate_size=1536,
    num_hidden_layers=30,
    num_attention_heads=9,
    num_key_value_heads=3,
    max_position_embeddings=8192,
    rms_norm_eps=1e-5,
    rope_parameters={"rope_type": "default", "rope_theta": 100_000.0},
    tie_word_embeddings=True,
)
PARTS = {
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def state_of(path: Path) -> dict[str, Tensor]:
    """A Llama's tensors as the gguf package reads them, under transformers' names."""
    state: dict[str, Tensor] = {}
    for tensor in gguf.GGUFReader(path).tensors:
        weight = torch.from_numpy(gguf.quants.dequantize(tensor.data, tensor.tensor_type).copy())
        where, _, part = tensor.name.removesuffix(".weight").rpartition(".")
        if part in ("attn_q", "attn_k"):  # neighbours are the pairs there, halves here
            weight = weight.view(-1, 32, 2, 576).swapaxes(1, 2).reshape(-1, 576)
        name = {"token_embd": "embed_tokens", "output_norm": "norm"}.get(part)
        name = name or f"layers.{where.removeprefix('blk.')}.{PARTS[part]}"
        state[f"model.{name}.weight"] = weight
    return state | {"lm_head.weight": state["model.embed_tokens.weight"]}


@pytest.fixture(scope="module")
def smol(model_file: Callable[[str], Path]) -> tuple[Model, Any]:
    path = model_file("smollm2-135m")
    with torch.device("meta"):
        theirs = transformers.AutoModelForCausalLM.from_config(SMOL)
    theirs.load_state_dict(state_of(path), assign=True)
    theirs.model.rotary_emb = type(theirs.model.rotary_emb)(SMOL)  # its buffers are in no file
    return Model(open_weights(path), "fp32", threads=1), theirs.eval()


PROMPTS = [
    [1, 504, 3575, 282, 4649, 314],  # "The capital of France is"
    [1604, 9247, 24, 100, 731, 198, 216],
    list(range(500, 564)),
]


@pytest.mark.parametrize("prompt", PROMPTS, ids=["short", "code", "long"])
def test_a_real_model_says_the_same(smol: tuple[Model, Any], prompt: list[int]) -> None:
    ours, theirs = smol
    text = greedy_text(ours, prompt, 50)
    with torch.inference_mode():
        asked = torch.tensor([prompt])
        generated = theirs.generate(
            asked,
            attention_mask=torch.ones_like(asked),
            generation_config=transformers.GenerationConfig(
                max_new_tokens=50, min_new_tokens=50, do_sample=False, pad_token_id=0
            ),
        )
        expected = theirs(torch.tensor([prompt + text])).logits[0]
    assert text == generated[0, len(prompt) :].tolist()
    torch.testing.assert_close(logits_of(ours, prompt + text), expected, rtol=0, atol=1e-3)


FAMILIES: dict[str, transformers.PretrainedConfig] = {
    "llama": transformers.LlamaConfig(**BASE),
    "llama-mha-bias": transformers.LlamaConfig(**BASE | {"num_key_value_heads": 4, "attention_bias": True}),
    "llama-head-dim": transformers.LlamaConfig(**BASE, head_dim=32),
    "qwen2": transformers.Qwen2Config(**BASE),
    "qwen2-theta": transformers.Qwen2Config(
        **BASE, rope_parameters={"rope_type": "default", "rope_theta": 1e6}
    ),
    "qwen3": transformers.Qwen3Config(**BASE, head_dim=16),
    "qwen3-head-dim": transformers.Qwen3Config(**BASE, head_dim=32),
    "mistral": transformers.MistralConfig(**BASE, sliding_window=None),
}


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("name", FAMILIES)
def test_tiny_models_of_every_family(tmp_path: Path, name: str, tied: bool) -> None:
    torch.manual_seed(5)
    config = copy.deepcopy(FAMILIES[name])
    config.tie_word_embeddings = tied
    theirs = transformers.AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for parameter_name, parameter in theirs.named_parameters():
            if "norm" in parameter_name or parameter_name.endswith("bias"):  # else ones and zeros
                parameter.add_(torch.randn_like(parameter) * 0.2)
    theirs.save_pretrained(tmp_path)
    ours = Model(open_weights(tmp_path), "fp32", threads=1)
    assert open_weights(tmp_path).has("lm_head.weight") is not tied
    tokens = torch.randint(0, 160, (70,)).tolist()
    with torch.inference_mode():
        expected = theirs(torch.tensor([tokens])).logits[0]
    assert expected.std() > 0.5
    torch.testing.assert_close(logits_of(ours, tokens), expected, rtol=0, atol=1e-4)
