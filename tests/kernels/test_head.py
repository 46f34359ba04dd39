"""The learned router's net: against plain mathematics, and a row's bits whatever comes with it."""

import pytest
import torch

from ringroad.kernels.head import EPS, TOPS, Head, Sight, together, unpack
from ringroad.kernels.native import library
from tests.kernels.heads import BUCKETS, sight, tensors

WIDTH = 64


def plainly(weights: dict[str, torch.Tensor], seen: Sight, blocks: int = 2) -> torch.Tensor:
    """The net as its docstring has it, in double precision."""
    w = {name: tensor.bfloat16().double() for name, tensor in weights.items()}

    def normed(rows: torch.Tensor, name: str) -> torch.Tensor:
        return rows * torch.rsqrt(rows.square().mean(-1, keepdim=True) + EPS) * weights[name].double()

    falls = (seen.tops - seen.tops[:, :1]).bfloat16().double()
    spoken = w["token"][seen.tokens % BUCKETS]
    rows = torch.cat([seen.hidden.double(), falls, spoken], 1) @ w["in.weight"].T + w["in.bias"]
    for n in range(blocks):
        at = f"blocks.{n}"
        inner = (normed(rows, f"{at}.norm") @ w[f"{at}.up.weight"].T + w[f"{at}.up.bias"]).relu()
        rows = rows + inner @ w[f"{at}.down.weight"].T + w[f"{at}.down.bias"]
    return torch.sigmoid(normed(rows, "norm") @ w["out.weight"].T + w["out.bias"])[:, 0]


def test_it_is_the_net_that_its_tensors_say() -> None:
    weights, seen = tensors(WIDTH), sight(40, WIDTH)
    found = Head(weights).doubts(seen)
    assert found.dtype == torch.float32
    assert torch.allclose(found.double(), plainly(weights, seen), atol=0.02)
    assert float(found.max() - found.min()) > 0.2, "doubts differ"


@pytest.mark.parametrize("native", [True, False])
def test_a_row_has_the_same_bits_in_any_company(native: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not native:
        monkeypatch.setattr("ringroad.kernels.native.linear.library", lambda: None)
    head, seen = Head(tensors(WIDTH)), sight(37, WIDTH)
    whole = head.doubts(seen)
    for rows in (slice(0, 1), slice(36, 37), slice(3, 5), slice(1, 17), [5, 2, 36]):
        assert torch.equal(head.doubts(seen.rows(rows)), whole[rows])


@pytest.mark.skipif(library() is None, reason="no AVX-512 bf16, or the kernels were not built")
@pytest.mark.parametrize(("inner", "blocks"), [(64, 2), (256, 2), (512, 1)])
def test_one_call_of_c_says_the_same_to_the_last_bit(
    inner: int, blocks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    width = 92  # with the rest of what the first layer reads a multiple of 32, as the kernels want it
    weights, seen = tensors(width, blocks, inner=inner), sight(8000, width, seed=5)
    head = Head(weights)
    assert head._in_c(width) is not None
    found = head.doubts(seen)
    monkeypatch.setattr(Head, "_in_c", lambda self, width: None)
    assert torch.equal(found, Head(weights).doubts(seen))
    assert len(found.unique()) > 100


@pytest.mark.parametrize("rows", [1, 7])
def test_what_crosses_a_wire_is_judged_to_the_same_bits(rows: int) -> None:
    head, seen = Head(tensors(WIDTH)), sight(rows, WIDTH, seed=3)
    data = seen.pack()
    assert len(data) == rows * 2 * (WIDTH + TOPS)
    back = unpack(data, seen.tokens.tolist())
    assert torch.equal(head.doubts(back), head.doubts(seen))
    other = sight(2, WIDTH, seed=4)
    assert torch.equal(
        head.doubts(together([unpack(other.pack(), other.tokens.tolist()), back]))[2:], head.doubts(seen)
    )


@pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: b"", lambda data: data + b"xx"])
def test_bytes_that_are_no_sight_are_refused(change: object) -> None:
    seen = sight(3, WIDTH)
    with pytest.raises(ValueError, match="no sight"):
        unpack(change(seen.pack()), seen.tokens.tolist())  # type: ignore[operator]


def test_a_missing_tensor_is_named() -> None:
    weights = tensors(WIDTH)
    del weights["blocks.1.down.bias"]
    with pytest.raises(KeyError, match=r"blocks\.1\.down\.bias"):
        Head(weights)
