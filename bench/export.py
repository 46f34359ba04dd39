"""Writes a GGUF model as a bf16 Hugging Face folder, so that peers run the very weights we run.

python bench/export.py qwen2.5-coder-1.5b [DEST] [--force]
"""

import argparse
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from gguf.quants import dequantize
from safetensors.torch import save_file
from transformers import AutoTokenizer

CLASSES = {"qwen2": "Qwen2ForCausalLM", "llama": "LlamaForCausalLM"}

OUTER = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
INNER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


class ExportError(Exception):
    """The GGUF file is missing, or holds something this export has no faithful translation for."""


def cache_root() -> Path:
    """Where the models lie: $RINGROAD_CACHE, else $XDG_CACHE_HOME/ringroad, else ~/.cache/ringroad."""
    if own := os.environ.get("RINGROAD_CACHE"):
        return Path(own).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "ringroad"


def locate(model: str) -> Path:
    """The GGUF file a model name or a path means. Raises ExportError when there is none."""
    path = Path(model).expanduser() if model.endswith(".gguf") else cache_root() / "models" / f"{model}.gguf"
    if not path.is_file():
        raise ExportError(f"no GGUF file at {path}")
    return path


def hf_name(name: str) -> str:
    """GGUF tensor name to Hugging Face's. Raises ExportError for a tensor of another architecture."""
    if name in OUTER:
        return OUTER[name]
    match = re.fullmatch(r"blk\.(\d+)\.(\w+)\.(weight|bias)", name)
    if match is None or match[2] not in INNER:
        raise ExportError(f"tensor {name} has no place in a Qwen2 or Llama model")
    return f"model.layers.{match[1]}.{INNER[match[2]]}.{match[3]}"


def unpermute(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """Undoes llama.cpp's reordering of Llama's q and k rows: rotary pairs side by side -> half by half."""
    rows = weight.shape[0]
    pairs = weight.reshape(heads, rows // heads // 2, 2, *weight.shape[1:])
    return pairs.swapaxes(1, 2).reshape(weight.shape)


class Source:
    """A GGUF file opened for export: its metadata, tensors and architecture."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._reader = gguf.GGUFReader(path)
        self.architecture: str = self._field("general.architecture")
        if self.architecture not in CLASSES:
            raise ExportError(f"{path} is of architecture {self.architecture}; known: {', '.join(CLASSES)}")
        scaling = [key for key in self._reader.fields if ".rope.scaling." in key]
        if scaling:
            raise ExportError(f"{path} scales its rotary positions, which is not translated: {scaling}")

    def _field(self, key: str, default: Any = None) -> Any:
        field = self._reader.fields.get(key)
        value = default if field is None else field.contents()
        if value is None:
            raise ExportError(f"{self.path} lacks {key}")
        return value

    def shape(self, key: str, default: Any = None) -> Any:
        """A number of the architecture, such as block_count."""
        return self._field(f"{self.architecture}.{key}", default)

    def token(self, role: str) -> int:
        """A special token's id; role is bos, eos or padding."""
        return int(self._field(f"tokenizer.ggml.{role}_token_id"))

    def tensors(self) -> dict[str, torch.Tensor]:
        """Every tensor under its Hugging Face name, bf16."""
        heads = {
            "attn_q": self.shape("attention.head_count"),
            "attn_k": self.shape("attention.head_count_kv"),
        }
        found: dict[str, torch.Tensor] = {}
        for tensor in self._reader.tensors:
            # The reader maps the file read-only, and torch wants memory it may write.
            values = np.array(dequantize(tensor.data, tensor.tensor_type), dtype=np.float32)
            weight = torch.from_numpy(values).to(torch.bfloat16)
            part = tensor.name.split(".")[-2]
            if self.architecture == "llama" and part in heads:
                weight = unpermute(weight, heads[part])
            found[hf_name(tensor.name)] = weight.contiguous()
        return found

    def config(self, tensors: dict[str, torch.Tensor]) -> dict[str, Any]:
        """config.json. The head counts as tied only where the file has no head of its own."""
        width, heads = self.shape("embedding_length"), self.shape("attention.head_count")
        return {
            "architectures": [CLASSES[self.architecture]],
            "model_type": self.architecture,
            "torch_dtype": "bfloat16",
            "hidden_act": "silu",
            "hidden_size": width,
            "intermediate_size": self.shape("feed_forward_length"),
            "num_hidden_layers": self.shape("block_count"),
            "num_attention_heads": heads,
            "num_key_value_heads": self.shape("attention.head_count_kv"),
            "head_dim": self.shape("attention.key_length", width // heads),
            "max_position_embeddings": self.shape("context_length"),
            "rms_norm_eps": round(self.shape("attention.layer_norm_rms_epsilon"), 9),
            "rope_theta": self.shape("rope.freq_base", 10000.0),
            "vocab_size": tensors["model.embed_tokens.weight"].shape[0],
            "tie_word_embeddings": "lm_head.weight" not in tensors,
            "bos_token_id": self.token("bos"),
            "eos_token_id": self.token("eos"),
        }

    def generation_config(self) -> dict[str, Any]:
        """generation_config.json: greedy, and ending at the padding token too, as Qwen's own does."""
        eos, padding = self.token("eos"), self.token("padding")
        return {
            "bos_token_id": self.token("bos"),
            "pad_token_id": padding,
            "eos_token_id": list(dict.fromkeys([eos, padding])),
            "do_sample": False,
        }


def export(path: Path, dest: Path) -> None:
    """Writes the folder whole or not at all. Raises ExportError."""
    source = Source(path)
    partial = dest.with_name(dest.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    tokenizer.save_pretrained(partial, save_jinja_files=False)
    tensors = source.tensors()
    save_file(tensors, partial / "model.safetensors", metadata={"format": "pt"})
    for name, content in (
        ("config.json", source.config(tensors)),
        ("generation_config.json", source.generation_config()),
    ):
        (partial / name).write_text(json.dumps(content, indent=2) + "\n")
    shutil.rmtree(dest, ignore_errors=True)
    partial.rename(dest)


def main() -> None:
    parser = argparse.ArgumentParser(description="Write a GGUF model as a bf16 Hugging Face folder.")
    parser.add_argument("model", help="a model's name in the cache, or a path ending in .gguf")
    parser.add_argument(
        "dest", nargs="?", type=Path, help="folder to write (default: the cache's peers/NAME)"
    )
    parser.add_argument("--force", action="store_true", help="write anew what is there already")
    args = parser.parse_args()
    try:
        path = locate(args.model)
        dest = args.dest or cache_root() / "peers" / path.stem
        if (dest / "config.json").is_file() and not args.force:
            print(f"{dest} is there already (--force writes it anew)")
            return
        export(path, dest)
    except ExportError as error:
        parser.exit(1, f"export: {error}\n")
    print(f"wrote {dest}")


if __name__ == "__main__":
    main()
