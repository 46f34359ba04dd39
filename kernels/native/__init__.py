"""The decoder written in C for processors with AVX-512 bf16; every part has its twin in torch."""

from ringroad.kernels.native.decoder import Branch, NativeDecoder, decoder
from ringroad.kernels.native.head import NativeHead
from ringroad.kernels.native.library import BLOCK, library
from ringroad.kernels.native.linear import Packed, pack_bf16, pack_codes, pack_int4
from ringroad.kernels.native.linear import fits as fits_linear
from ringroad.kernels.native.vocabulary import noisy_best, noisy_rows, reads, survey

__all__ = [
    "BLOCK",
    "Branch",
    "NativeDecoder",
    "NativeHead",
    "Packed",
    "decoder",
    "fits_linear",
    "library",
    "noisy_best",
    "noisy_rows",
    "pack_bf16",
    "pack_codes",
    "pack_int4",
    "reads",
    "survey",
]
