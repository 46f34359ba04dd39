"""The learned token router: how much it matters if the small model speaks a token (R2R, Fu et al. 2025).

A small residual network over what the small model saw: its last hidden state, its highest logits and the
token it is about to speak. The published one has 50 million parameters and the token's own embedding; this
one has about one million and a hashed embedding of its own, so that a process apart needs no model.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ringroad.kernels import native
from ringroad.kernels.layers import rms_norm
from ringroad.kernels.linear import TOGETHER, pack

TOPS = 100  # of a row's logits the highest so many, sorted
EPS = 1e-6


@dataclass(frozen=True)
class Sight:
    """What the small model saw when it spoke each of some tokens."""

    hidden: Tensor  # [rows, width] bf16, after the final norm
    tops: Tensor  # [rows, TOPS] fp32, the highest logits, falling
    tokens: Tensor  # [rows] int64, what it spoke

    def rows(self, at: slice | Sequence[int]) -> "Sight":
        """Of some rows alone."""
        return Sight(self.hidden[at], self.tops[at], self.tokens[at])

    def pack(self) -> bytes:
        """What a head reads of it but for the tokens, in rows of bf16: `hidden`, and how `tops` fall."""
        rows = torch.cat(
            [self.hidden.to("cpu", torch.bfloat16), _falls(self.tops).to("cpu", torch.bfloat16)], 1
        )
        return rows.contiguous().view(torch.uint8).numpy().tobytes()


def unpack(data: bytes, tokens: Sequence[int]) -> Sight:
    """The sight of tokens from what `pack` made: a head says the same of it, to the last bit.

    Raises ValueError for bytes that are none.
    """
    width = len(data) // 2 // max(1, len(tokens)) - TOPS
    if not tokens or width < 1 or len(data) != 2 * len(tokens) * (width + TOPS):
        raise ValueError(f"{len(data)} bytes are no sight of {len(tokens)} tokens")
    rows = torch.frombuffer(bytearray(data), dtype=torch.bfloat16).view(len(tokens), -1)
    return Sight(rows[:, :width], rows[:, width:], torch.tensor(tokens))


def together(sights: Sequence[Sight]) -> Sight:
    """One after another."""
    return Sight(
        torch.cat([each.hidden for each in sights]),
        torch.cat([each.tops for each in sights]),
        torch.cat([each.tokens for each in sights]),
    )


class Head:
    """Weights, packed: a row's doubt has the same bits whatever rows come with it."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        """tensors, of any float dtype:

        "token" [buckets, narrow]; "in.weight" [inner, width + TOPS + narrow], "in.bias" [inner];
        "blocks.N.norm" [inner], "blocks.N.up.weight" [wide, inner], ".bias", "blocks.N.down.weight" [inner,
        wide], ".bias"; "norm" [inner]; "out.weight" [1, inner], "out.bias" [1]. Raises KeyError for one
        that is missing.
        """
        self._token = tensors["token"].bfloat16()
        self._in = pack(tensors["in.weight"], tensors["in.bias"], "bf16")
        count = sum(name.endswith(".norm") for name in tensors)
        self._blocks = [
            (
                tensors[f"blocks.{n}.norm"].float(),
                pack(tensors[f"blocks.{n}.up.weight"], tensors[f"blocks.{n}.up.bias"], "bf16"),
                pack(tensors[f"blocks.{n}.down.weight"], tensors[f"blocks.{n}.down.bias"], "bf16"),
            )
            for n in range(count)
        ]
        self._norm = tensors["norm"].float()
        # As many outputs as the packing keeps together; the first is meant.
        self._out = pack(_padded(tensors["out.weight"]), _padded(tensors["out.bias"]), "bf16")
        self._native = self._in_c(tensors["in.weight"].shape[1] - TOPS - self._token.shape[1])

    def doubts(self, seen: Sight) -> Tensor:
        """[rows] fp32 in [0, 1]."""
        if self._native is not None:
            return self._native.doubts(seen.hidden, seen.tops, seen.tokens)
        rows = self._in(inputs(seen, self._token))
        for norm, up, down in self._blocks:
            rows = rows + down(torch.relu(up(rms_norm(rows, norm, EPS))))
        return torch.sigmoid(self._out(rms_norm(rows, self._norm, EPS))[:, 0].double()).float().cpu()

    def _in_c(self, width: int) -> native.NativeHead | None:
        """The same as one call, where the kernels take all of its layers."""
        first, out = self._in, self._out
        blocks = [
            (norm, up, down)
            for norm, up, down in self._blocks
            if isinstance(up, native.Packed) and isinstance(down, native.Packed)
        ]
        if len(blocks) < len(self._blocks) or not blocks:
            return None
        if not (isinstance(first, native.Packed) and isinstance(out, native.Packed)):
            return None
        return native.NativeHead(self._token, first, blocks, self._norm, out, (width, TOPS), EPS)


def inputs(seen: Sight, token: Tensor) -> Tensor:
    """What the first layer reads, [rows, width + TOPS + narrow] of the kind and place of `token`
    [buckets, narrow]."""
    spoken = token[seen.tokens.to(token.device) % len(token)]
    return torch.cat([seen.hidden.to(token), _falls(seen.tops).to(token), spoken], 1)


def _falls(tops: Tensor) -> Tensor:
    return tops - tops[:, :1]


def _padded(tensor: Tensor) -> Tensor:
    return torch.cat([tensor, tensor.new_zeros(TOGETHER - len(tensor), *tensor.shape[1:])])
