"""Weights at rest: GGUF and folder hold the same model, and what no engine runs is refused by name."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from ringroad.actors.engine.engine import Engine, Work
from ringroad.actors.engine.model import Model
from ringroad.actors.engine.names import gguf_name
from ringroad.actors.engine.weights import GgufWeights, fingerprint, open_weights
from ringroad.actors.errors import ModelError
from ringroad.actors.gguf_file import GgufFile
from ringroad.actors.messages import Sampling
from tests.engine.tiny import SHAPE, TinyWeights, prompt

CONFIG: dict[str, Any] = {
    "model_type": "llama",
    "num_hidden_layers": SHAPE.layers,
    "hidden_size": SHAPE.width,
    "num_attention_heads": SHAPE.heads,
    "num_key_value_heads": SHAPE.kv_heads,
    "head_dim": SHAPE.head_dim,
    "intermediate_size": SHAPE.ffn,
    "vocab_size": SHAPE.vocabulary,
    "max_position_embeddings": SHAPE.context,
    "rope_theta": 5000.0,
    "rms_norm_eps": SHAPE.eps,
}
STORED = gguf.GGMLQuantizationType.Q8_0


def tensors() -> dict[str, torch.Tensor]:
    """The tiny model as a Llama: without biases."""
    return {n: t for n, t in TinyWeights()._tensors.items() if not n.endswith("bias")}


def interleaved(name: str, tensor: np.ndarray) -> np.ndarray:
    """A Llama's rotary rows as GGUF keeps them: pair by pair instead of half by half."""
    if ".q_proj." not in name and ".k_proj." not in name:
        return tensor
    out = np.empty_like(tensor)
    half = SHAPE.head_dim // 2
    for row in range(len(tensor)):
        head, at = divmod(row, SHAPE.head_dim)
        out[head * SHAPE.head_dim + (2 * at if at < half else 2 * (at - half) + 1)] = tensor[row]
    return out


def write_gguf(path: Path, family: str = "llama", **extra: str) -> dict[str, torch.Tensor]:
    """Writes the tiny model with quantised matrices; returns what they say when dequantised."""
    writer = gguf.GGUFWriter(path, family)
    writer.add_block_count(SHAPE.layers)
    writer.add_embedding_length(SHAPE.width)
    writer.add_head_count(SHAPE.heads)
    writer.add_head_count_kv(SHAPE.kv_heads)
    writer.add_key_length(SHAPE.head_dim)
    writer.add_feed_forward_length(SHAPE.ffn)
    writer.add_context_length(SHAPE.context)
    writer.add_rope_freq_base(5000.0)
    writer.add_layer_norm_rms_eps(SHAPE.eps)
    for key, value in extra.items():
        writer.add_string(key.replace("__", "."), value)
    stored: dict[str, torch.Tensor] = {}
    for name, tensor in tensors().items():
        array = tensor.numpy()
        if array.ndim == 1:
            writer.add_tensor(gguf_name(name), array)
        else:
            blocks = gguf.quants.quantize(interleaved(name, array), STORED)
            writer.add_tensor(gguf_name(name), blocks, raw_dtype=STORED)
            array = gguf.quants.dequantize(gguf.quants.quantize(array, STORED), STORED)
        stored[name] = torch.from_numpy(np.ascontiguousarray(array))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return stored


def write_folder(path: Path, stored: dict[str, torch.Tensor], **changes: Any) -> Path:
    path.mkdir(exist_ok=True)
    (path / "config.json").write_text(json.dumps(CONFIG | changes))
    names = sorted(stored)
    for part, names_here in enumerate((names[::2], names[1::2])):
        save_file({n: stored[n] for n in names_here}, path / f"model-{part}.safetensors")
    return path


def test_gguf_and_folder_are_the_same_model(tmp_path: Path) -> None:
    stored = write_gguf(tmp_path / "tiny.gguf")
    file = open_weights(tmp_path / "tiny.gguf")
    folder = open_weights(write_folder(tmp_path / "folder", stored))
    assert file.shape == folder.shape
    assert (file.shape.theta, file.shape.head_dim) == (5000.0, 32)
    for name, tensor in stored.items():
        assert torch.equal(file.read(name, torch.float32), tensor), name
        assert torch.equal(folder.read(name, torch.float32), tensor), name
        assert file.read(name, torch.bfloat16).dtype == torch.bfloat16
    texts = []
    for weights in (file, folder):
        engine = Engine(Model(weights, "fp32", threads=1))
        engine.open("s", Sampling(seed=3, temperature=1.0))
        texts.append(engine.step([Work("s", prompt(60), answers=60)]))
    assert texts[0] == texts[1]


def test_a_fingerprint_is_of_the_model_not_of_its_file(tmp_path: Path) -> None:
    stored = write_gguf(tmp_path / "tiny.gguf")
    found = fingerprint(open_weights(tmp_path / "tiny.gguf"))
    assert len(found) == 16
    assert int(found, 16)
    (tmp_path / "same").mkdir()
    (tmp_path / "tuned").mkdir()
    # Another base of frequencies or context is how a file says it, not which model it is.
    folder = write_folder(tmp_path / "same", stored, max_position_embeddings=9)
    assert fingerprint(open_weights(folder)) == found
    stored["model.norm.weight"] = stored["model.norm.weight"] * 1.01
    assert fingerprint(open_weights(write_folder(tmp_path / "tuned", stored))) != found
    assert fingerprint(open_weights(tmp_path / "tiny.gguf", 1)) != found, "of its first layers alone"


@pytest.mark.parametrize(
    "name", ["model.layers.0.input_layernorm.weight", "model.layers.1.post_attention_layernorm.weight"]
)
def test_a_fingerprint_reads_the_ends_of_a_model(tmp_path: Path, name: str) -> None:
    weights = TinyWeights()
    found = fingerprint(weights)
    weights._tensors[name] = weights._tensors[name] + 0.1
    assert fingerprint(weights) != found


def test_large_tensors_are_dequantised_in_parts_that_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = write_gguf(tmp_path / "tiny.gguf")
    monkeypatch.setattr("ringroad.actors.engine.weights.SLICE", 1000)  # parts that divide nothing
    name = "model.embed_tokens.weight"
    assert torch.equal(open_weights(tmp_path / "tiny.gguf").read(name, torch.float32), stored[name])


def test_names_in_gguf() -> None:
    assert gguf_name("model.layers.13.mlp.up_proj.weight") == "blk.13.ffn_up.weight"
    assert gguf_name("model.layers.0.self_attn.q_proj.bias") == "blk.0.attn_q.bias"
    assert gguf_name("model.embed_tokens.weight") == "token_embd.weight"
    assert gguf_name("lm_head.weight") == "output.weight"


def test_the_header_is_what_the_gguf_package_reads(tmp_path: Path) -> None:
    write_gguf(tmp_path / "tiny.gguf", general__name="a name")
    ours = GgufFile(tmp_path / "tiny.gguf")
    theirs = gguf.GGUFReader(tmp_path / "tiny.gguf")
    assert {
        t.name: (tuple(map(int, reversed(t.shape))), int(t.tensor_type), t.data_offset)
        for t in theirs.tensors
    } == {t.name: (t.shape, t.kind, t.offset) for t in ours.tensors.values()}
    read = {key: field.contents() for key, field in theirs.fields.items() if not key.startswith("GGUF.")}
    assert ours.metadata == read
    assert ours.metadata["general.name"] == "a name"


# --- refusals -----------------------------------------------------------------------------------


def test_unknown_families_are_refused(tmp_path: Path) -> None:
    stored = write_gguf(tmp_path / "gpt.gguf", family="gpt2")
    with pytest.raises(ModelError, match="gpt2"):
        _ = open_weights(tmp_path / "gpt.gguf").shape
    folder = write_folder(tmp_path / "folder", stored, model_type="gemma3")
    with pytest.raises(ModelError, match="gemma3"):
        _ = open_weights(folder).shape


@pytest.mark.parametrize(
    "window", [{"use_sliding_window": True}, {"model_type": "mistral", "sliding_window": 64}]
)
def test_sliding_windows_are_refused(tmp_path: Path, window: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="sliding"):
        _ = open_weights(write_folder(tmp_path, tensors(), **window)).shape


def test_a_path_that_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "readme.txt").write_text("hello")
    for path in (tmp_path, tmp_path / "readme.txt", tmp_path / "none.gguf"):
        with pytest.raises(ModelError, match=str(path)):
            open_weights(path)


def test_a_tensor_that_is_not_there_is_named(tmp_path: Path) -> None:
    stored = write_gguf(tmp_path / "tiny.gguf")
    folder = write_folder(tmp_path / "folder", stored)
    for path, name in (
        (tmp_path / "tiny.gguf", "blk.9.attn_q.weight"),
        (folder, "model.layers.9.self_attn.q_proj"),
    ):
        with pytest.raises(ModelError, match=name):
            open_weights(path).read("model.layers.9.self_attn.q_proj.weight", torch.float32)


@pytest.mark.parametrize("keep", [0, 3, 23, 24, 60, 300, 1000])
def test_a_gguf_cut_in_its_header_is_refused(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "tiny.gguf"
    write_gguf(path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ModelError, match=r"tiny\.gguf"):
        open_weights(path)


def read_all(path: Path, names: Iterable[str]) -> None:
    weights = GgufWeights(path)
    for name in names:
        weights.read(name, torch.float32)


@pytest.mark.parametrize("keep", [0.5, 0.9])
def test_a_gguf_cut_in_its_weights_is_refused(tmp_path: Path, keep: float) -> None:
    path = tmp_path / "tiny.gguf"
    names = write_gguf(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(ModelError, match=r"tiny\.gguf"):
        read_all(path, names)


def test_a_gguf_cut_between_two_blocks_is_refused(tmp_path: Path) -> None:
    """No reshape fails there, and what is missing would be whatever the memory held."""
    path = tmp_path / "tiny.gguf"
    names = write_gguf(path)
    last = max(GgufFile(path).tensors.values(), key=lambda t: t.offset)
    _, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType(last.kind)]
    path.write_bytes(path.read_bytes()[: last.offset + size])
    with pytest.raises(ModelError, match=r"tiny\.gguf"):
        read_all(path, names)


def test_other_files_and_versions_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "odd.gguf"
    path.write_bytes(b"GGML" + bytes(100))
    with pytest.raises(ModelError, match="not a GGUF"):
        open_weights(path)
    path.write_bytes(b"GGUF" + (1).to_bytes(4, "little") + bytes(100))
    with pytest.raises(ModelError, match="version 1"):
        open_weights(path)


def test_missing_metadata_is_named(tmp_path: Path) -> None:
    path = tmp_path / "bare.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(ModelError, match=r"llama\.attention\.head_count"):
        _ = open_weights(path).shape
