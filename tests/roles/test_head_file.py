"""A head's file: what is written is read, and what is no head of these models is refused by name."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from safetensors.torch import save_file

from ringroad.actors.head.card import Card, HeadError, check, metadata
from ringroad.actors.head.file import read, write
from ringroad.kernels.head import Head
from tests.kernels.heads import sight, tensors

WIDTH = 64
CARD = Card(
    small="aaaa000011112222",
    large="bbbb000011112222",
    small_name="small",
    large_name="large",
    small_weights="int4",
    threshold=0.37,
    quantiles={"learned": [0.0, 0.2, 0.9], "margin": [0.1, 0.1]},
    date="2026-11-22",
    recall=0.9,
    figures={"precision learned": 0.5},
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "folder" / "head.safetensors"
    write(found, tensors(WIDTH), CARD)
    return found


def test_what_is_written_is_read(path: Path) -> None:
    file = read(path)
    assert file.card == metadata(path) == CARD
    seen = sight(5, WIDTH)
    assert torch.equal(Head(file.tensors).doubts(seen), Head(tensors(WIDTH)).doubts(seen))


def test_a_file_is_replaced_whole_or_not_at_all(path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(HeadError, match=r"no tensor norm"):
        write(path, {name: t for name, t in tensors(WIDTH).items() if name != "norm"}, CARD)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path], "and nothing is left beside it"


def test_the_card_is_read_without_torch(path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from ringroad.actors.head.card import metadata;"
        "card = metadata(Path(sys.argv[1])); assert 'torch' not in sys.modules; sys.stdout.write(card.small)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout == CARD.small


@pytest.mark.parametrize("keep", [0, 7, 100, -1])
def test_a_file_that_is_cut_is_refused(path: Path, keep: int) -> None:
    path.write_bytes(path.read_bytes()[:keep])
    for look in (metadata, read):
        with pytest.raises(HeadError, match=r"head\.safetensors"):
            look(path)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HeadError, match=r"none\.safetensors"):
        metadata(tmp_path / "none.safetensors")


def test_what_is_no_safetensors_is_refused(path: Path) -> None:
    path.write_bytes(b"GGUF" * 1000)
    with pytest.raises(HeadError, match=r"head\.safetensors"):
        read(path)


def saved(path: Path, found: dict[str, torch.Tensor], card: Any = CARD) -> Path:
    text = card if isinstance(card, str) else msgspec.json.encode(card).decode()
    save_file(found, path, metadata={"ringroad": text})
    return path


@pytest.mark.parametrize("name", sorted(tensors(WIDTH)))
def test_every_tensor_must_be_there_in_its_shape(tmp_path: Path, name: str) -> None:
    for change in (lambda t: None, lambda t: t[:-1].clone(), lambda t: t.unsqueeze(0), lambda t: t.long()):
        found = tensors(WIDTH)
        changed = change(found.pop(name))
        if changed is not None:
            found[name] = changed
        if name == "token" and changed is not None and changed.ndim == 2 and changed.is_floating_point():
            continue  # a bucket less is another head
        with pytest.raises(HeadError, match=r"x\.safetensors"):
            read(saved(tmp_path / "x.safetensors", found))


def test_numbers_that_are_none_are_refused(tmp_path: Path) -> None:
    found = tensors(WIDTH)
    found["norm"][3] = float("nan")
    with pytest.raises(HeadError, match="norm holds what is no number"):
        read(saved(tmp_path / "x.safetensors", found))


def test_a_stranger_among_the_tensors_is_named(tmp_path: Path) -> None:
    with pytest.raises(HeadError, match="what is extra"):
        read(saved(tmp_path / "x.safetensors", tensors(WIDTH) | {"extra": torch.zeros(1)}))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"format": 2}, "format 2"),
        ({"threshold": "high"}, "threshold"),
        ({"quantiles": {"learned": [0.5, 0.1]}}, "quantiles of learned must rise"),
        ({"quantiles": {"learned": [0.5]}}, "quantiles of learned must rise"),
        ({"small": None}, "small"),
    ],
)
def test_a_card_that_makes_no_sense_is_refused(tmp_path: Path, changes: dict[str, Any], problem: str) -> None:
    card = json.dumps(msgspec.to_builtins(CARD) | changes)
    with pytest.raises(HeadError, match=rf"x\.safetensors.*{problem}"):
        metadata(saved(tmp_path / "x.safetensors", tensors(WIDTH), card))


def test_a_file_without_a_card_is_refused(tmp_path: Path) -> None:
    save_file(tensors(WIDTH), tmp_path / "x.safetensors")
    with pytest.raises(HeadError, match="not a head"):
        metadata(tmp_path / "x.safetensors")


def test_a_head_of_other_models_is_refused_with_all_fingerprints(path: Path) -> None:
    check(CARD, CARD.small, CARD.large, path)
    for small, large in (("c" * 16, CARD.large), (CARD.small, "d" * 16), (CARD.large, CARD.small)):
        with pytest.raises(HeadError) as refused:
            check(CARD, small, large, path)
        for named in (str(path), CARD.small, CARD.large, small, large):
            assert named in str(refused.value)
