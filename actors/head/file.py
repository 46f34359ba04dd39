"""A head at rest: a safetensors file of the tensors that `kernels/head.py` names, with its card."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import msgspec
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ringroad.actors.head.card import KEY, Card, HeadError, metadata
from ringroad.kernels.head import TOPS


@dataclass(frozen=True)
class HeadFile:
    """A head's tensors, by the names of `kernels/head.py`, and its card."""

    tensors: Mapping[str, Tensor]
    card: Card


def read(path: Path, device: str = "cpu") -> HeadFile:
    """The whole file, looked at. Raises HeadError."""
    card = metadata(path)
    try:
        with safe_open(path, framework="pt", device=device) as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a mapping
    except (OSError, SafetensorError) as error:
        raise HeadError(f"{path}: {error}") from error
    _look_at(tensors, path)
    return HeadFile(tensors, card)


def write(path: Path, tensors: Mapping[str, Tensor], card: Card) -> None:
    """Puts a file in its place, at once or not at all. Raises HeadError for tensors that are no head."""
    _look_at(tensors, path)
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    data = save(whole, metadata={KEY: msgspec.json.encode(card).decode()})
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        with draft.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _look_at(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Raises HeadError where a tensor is missing, too many, or not of the shape that the others have it."""
    for name in ("token", "in.weight", "blocks.0.up.weight"):
        if name not in tensors or tensors[name].ndim != 2:
            raise HeadError(f"{path}: no matrix {name}")
    narrow, (inner, inputs) = tensors["token"].shape[1], tensors["in.weight"].shape
    if inputs <= TOPS + narrow:
        raise HeadError(
            f"{path}: in.weight has {inputs} inputs, of which {TOPS + narrow} are no hidden state"
        )
    wide = tensors["blocks.0.up.weight"].shape[0]
    shapes: dict[str, tuple[int, ...]] = {
        "token": tuple(tensors["token"].shape),
        "in.weight": (inner, inputs),
        "in.bias": (inner,),
        "norm": (inner,),
        "out.weight": (1, inner),
        "out.bias": (1,),
    }
    for n in range(sum(name.endswith(".norm") for name in tensors) or 1):
        shapes |= {
            f"blocks.{n}.norm": (inner,),
            f"blocks.{n}.up.weight": (wide, inner),
            f"blocks.{n}.up.bias": (wide,),
            f"blocks.{n}.down.weight": (inner, wide),
            f"blocks.{n}.down.bias": (inner,),
        }
    for name, shape in shapes.items():
        if name not in tensors:
            raise HeadError(f"{path}: no tensor {name}")
        found = tensors[name]
        if tuple(found.shape) != shape:
            raise HeadError(f"{path}: {name} is {list(found.shape)}, not {list(shape)}")
        if not found.is_floating_point() or not torch.isfinite(found).all():
            raise HeadError(f"{path}: {name} holds what is no number")
    if strangers := set(tensors) - set(shapes):
        raise HeadError(f"{path}: what is {min(strangers)}?")
