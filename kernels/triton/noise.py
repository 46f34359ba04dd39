"""The noise of docs/noise.md inside a kernel. Twin: `ringroad.kernels.noise.gumbel`."""

import triton
import triton.language as tl

LEFT = tl.constexpr(0xD2E7470EE14C6C93)  # multipliers and key steps of Salmon et al. (SC 2011), table 2
RIGHT = tl.constexpr(0xCA5A826395121157)
STEP_0 = tl.constexpr(0x9E3779B97F4A7C15)
STEP_1 = tl.constexpr(0xBB67AE8584CAA73B)


@triton.jit
def philox(
    c0: tl.tensor, c1: tl.tensor, k0: tl.tensor, k1: tl.tensor
) -> tuple[tl.tensor, tl.tensor, tl.tensor, tl.tensor]:
    """Philox4x64-10 of counters (c0, c1, 0, 0) and keys (k0, k1): four words, all [n] uint64."""
    c2 = tl.zeros_like(c0)
    c3 = tl.zeros_like(c0)
    for _ in tl.static_range(10):
        high = tl.umulhi(c2, RIGHT) ^ c1 ^ k0
        low = tl.umulhi(c0, LEFT) ^ c3 ^ k1
        c1, c3 = c2 * RIGHT, c0 * LEFT
        c0, c2 = high, low
        k0, k1 = k0 + STEP_0, k1 + STEP_1
    return c0, c1, c2, c3


@triton.jit
def gumbel(
    start: tl.tensor, seed: tl.tensor, stream: tl.tensor, position: tl.tensor, SIZE: tl.constexpr
) -> tl.tensor:
    """Noise of the SIZE tokens from `start`, a multiple of 8, on: [SIZE] fp32."""
    block = (start // 8 + tl.arange(0, SIZE // 8) + 1).to(tl.uint64)
    none = tl.zeros_like(block)
    w0, w1, w2, w3 = philox(block, none + position.to(tl.uint64), none + seed, none + stream)
    words = tl.join(tl.join(w0, w2), tl.join(w1, w3))  # the last index runs fastest: 0 1 2 3
    halves = tl.join(words & 0xFFFFFFFF, words >> 32)
    u = (tl.reshape(halves, (SIZE,)).to(tl.float64) + 0.5) * 2.0**-32
    return (-tl.log(-tl.log(u))).to(tl.float32)
