/* Weights as codes of 4 or 8 bits, expanded to the bf16 numbers they stand for while they are used.
 *
 * A weight is scale * code - minimum, rounded once to fp32 and once to bf16: what a reader of the file that
 * it comes from would have written into memory, bit for bit, for a quarter or a half of the bytes. A register
 * of bf16 that products take holds 16 outputs by two inputs; its first 8 outputs are computed in one
 * register of fp32, its last 8 in another, so that rounding both into one puts every number in its place.
 *
 * A block, of 64 outputs: units, if scales are nested, then groups. A group: codes, then scales, then minima
 * where codes have 4 bits. Codes of 4 bits: 4 x 2 x 2 registers (by 16 outputs, first or last 8 of them, 8 pairs
 * of inputs) of eight in each lane. Codes of 8 bits: 8 pairs of 64 outputs by two inputs. Scales and minima are
 * fp32; nested ones are a byte each, to be multiplied with the block's units: 64 fp16 for the scales, then for minima.
 */
#pragma once

#include "native.h"

enum { REGISTER = 64 }; /* bytes */

/* How a kind lies in memory. */
typedef struct {
    int bits, nested;
    int group, groups;            /* inputs of a group, groups of a block */
    int units, codes, bytes;      /* bytes of a block's units, of a group's codes, of a group */
} Layout;

INLINE Layout layout_of(const int kind) {
    switch (kind) {
    case CODED4: return (Layout){4, 0, 32, 1, 0, 16 * PANEL, 24 * PANEL};
    case NESTED4: return (Layout){4, 1, 32, 4, 4 * PANEL, 16 * PANEL, 18 * PANEL};
    case NESTED8: return (Layout){8, 1, 16, 8, 2 * PANEL, 16 * PANEL, 17 * PANEL};
    default: return (Layout){8, 0, 16, 1, 0, 16 * PANEL, 20 * PANEL};
    }
}

/* Bytes of a block. */
INLINE int64_t block_bytes(Layout layout) { return layout.units + layout.groups * layout.bytes; }

/* Scales and minima of 16 outputs, each twice: an output's two inputs share it. */
typedef struct {
    __m512 first, last, first_minimum, last_minimum;
} Scales;

INLINE __m512 first_twice(__m512 each) {
    return _mm512_permutexvar_ps(_mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7), each);
}

INLINE __m512 last_twice(__m512 each) {
    return _mm512_permutexvar_ps(_mm512_setr_epi32(8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13, 14, 14, 15, 15), each);
}

INLINE __m512 signed_bytes(const uint8_t *from) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)from)));
}

/* Sixteen scales, or minima: exact, since a unit has 11 bits. */
INLINE __m512 numbers(const int nested, const uint8_t *units, const uint8_t *from, int b) {
    if (!nested) return _mm512_loadu_ps(from + b * REGISTER);
    __m512 unit = _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(units + b * LANES * 2)));
    return _mm512_mul_ps(unit, signed_bytes(from + b * LANES));
}

/* The b-th 16 outputs' of a group. */
INLINE Scales scales_of(const Layout layout, const uint8_t *block, const uint8_t *group, int b) {
    const uint8_t *at = group + layout.codes;
    __m512 scale = numbers(layout.nested, block, at, b), minimum = _mm512_setzero_ps();
    if (layout.bits == 4)
        minimum = numbers(layout.nested, block + 2 * PANEL, at + (layout.bytes - layout.codes) / 2, b);
    return (Scales){first_twice(scale), last_twice(scale), first_twice(minimum), last_twice(minimum)};
}

INLINE __m512 nibbles(const uint8_t *from, int i) {
    const __m512 value = _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    /* A lookup takes four bits of each lane; what is above them does no harm. */
    return _mm512_permutexvar_ps(_mm512_srli_epi32(_mm512_loadu_si512(from), 4 * i), value);
}

/* The b-th 16 outputs' weights of the i-th pair of inputs of a group. */
INLINE __m512bh expand(const int bits, const uint8_t *group, int b, int i, Scales scales) {
    if (bits == 8) {
        const uint8_t *at = group + i * 2 * PANEL + b * 2 * LANES;
        return _mm512_cvtne2ps_pbh(_mm512_mul_ps(signed_bytes(at + LANES), scales.last),
                                   _mm512_mul_ps(signed_bytes(at), scales.first));
    }
    const uint8_t *at = group + (b * 4 + i / 8) * REGISTER;
    __m512 first = nibbles(at, i % 8), last = nibbles(at + 2 * REGISTER, i % 8);
    return _mm512_cvtne2ps_pbh(_mm512_fmsub_ps(last, scales.last, scales.last_minimum),
                               _mm512_fmsub_ps(first, scales.first, scales.first_minimum));
}

/* Expands `count` pairs of inputs, whole blocks: for a single row, sums [64] += from times these weights; for several
 * `sums` is null, and the weights go to `expanded`. Asks memory for what lies `ahead` bytes from here. */
INLINE void multiply_coded(const int single, const int kind, float *sums, const uint32_t *from, const uint8_t *codes,
                           int64_t count, int64_t ahead, uint8_t *expanded) {
    const Layout layout = layout_of(kind);
    const int size = layout.group / 2, lines = layout.bytes / REGISTER, parts = size / 2;
    __m512 sum[4];
    for (int b = 0; b < 4 && single; b++) sum[b] = _mm512_loadu_ps(sums + b * LANES);
    for (int64_t k = 0; k < count; codes += block_bytes(layout)) {
        for (int i = 0; i < layout.units; i += REGISTER) ask(codes + i, ahead);
        const uint8_t *group = codes + layout.units;
        for (int g = 0; g < layout.groups; g++, k += size, group += layout.bytes) {
            Scales scales[4];
            for (int b = 0; b < 4; b++) scales[b] = scales_of(layout, codes, group, b);
            /* Eight pairs for 16 outputs after eight for others: sums must not wait for each other. */
#pragma GCC unroll 8
            for (int part = 0; part < parts; part++) {
                const int b = part % 4;
                for (int i = lines * part / parts; i < lines * (part + 1) / parts; i++)
                    ask(group + i * REGISTER, ahead);
#pragma GCC unroll 8
                for (int i = part / 4 * 8; i < part / 4 * 8 + 8; i++) {
                    __m512bh w = expand(layout.bits, group, b, i, scales[b]);
                    if (single)
                        sum[b] = _mm512_dpbf16_ps(sum[b], w, (__m512bh)_mm512_set1_epi32(from[k + i]));
                    else
                        _mm512_store_si512(expanded + ((k + i) * 4 + b) * REGISTER, (__m512i)w);
                }
            }
        }
    }
    for (int b = 0; b < 4 && single; b++) _mm512_storeu_ps(sums + b * LANES, sum[b]);
}
