/* Weights as codes of 4 or 8 bits, expanded to the bf16 numbers they stand for while they are used.
 *
 * A weight is scale * code - minimum, rounded once to fp32 and once to bf16: what a reader of the file that
 * it comes from would have written into memory, bit for bit, for a quarter or a half of the bytes. A register
 * of bf16 that products take holds 16 outputs by two inputs; its first 8 outputs are computed in one
 * register of fp32, its last 8 in another, so that rounding both into one puts every number in its place.
 */
#include "codes.h"

/* Each of eight scales twice: an output's two inputs share it. */
static inline __m512 first_twice(__m512 scales) {
    return _mm512_permutexvar_ps(_mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7), scales);
}

static inline __m512 last_twice(__m512 scales) {
    return _mm512_permutexvar_ps(_mm512_setr_epi32(8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13, 14, 14, 15, 15), scales);
}

static inline void put(uint8_t *to, __m512 first, __m512 last) {
    _mm512_store_si512(to, (__m512i)_mm512_cvtne2ps_pbh(last, first));
}

enum { REGISTER = 64, PAIR = PANEL * 2 * sizeof(bf16) }; /* bytes; the second of a pair of inputs, expanded */

/* A group of 32 inputs: 4 x 2 x 2 registers (by 16 outputs, first or last 8 of them, 8 pairs of inputs) of
 * eight codes in each lane, then 64 scales, then 64 minima. */
static void expand_4(uint8_t *to, const uint8_t *from) {
    const __m512 value = _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const uint8_t *scales = from + CODES_4 * PANEL / 2, *minima = scales + PANEL * sizeof(float);
    for (int b = 0; b < PANEL / LANES; b++) {
        __m512 scale = _mm512_loadu_ps(scales + b * REGISTER), minimum = _mm512_loadu_ps(minima + b * REGISTER);
        __m512 scale_first = first_twice(scale), scale_last = last_twice(scale);
        __m512 minimum_first = first_twice(minimum), minimum_last = last_twice(minimum);
        for (int half = 0; half < 2; half++) {
            const uint8_t *at = from + (b * 4 + half) * REGISTER;
            _mm_prefetch(at + AHEAD, _MM_HINT_T0);
            _mm_prefetch(at + 2 * REGISTER + AHEAD, _MM_HINT_T0);
            __m512i first = _mm512_loadu_si512(at), last = _mm512_loadu_si512(at + 2 * REGISTER);
#pragma GCC unroll 8
            for (int pair = 0; pair < 8; pair++) {
                /* A lookup takes four bits of each lane; what is above them does no harm. */
                __m512 low = _mm512_permutexvar_ps(_mm512_srli_epi32(first, 4 * pair), value);
                __m512 high = _mm512_permutexvar_ps(_mm512_srli_epi32(last, 4 * pair), value);
                put(to + (half * 8 + pair) * PAIR + b * REGISTER, _mm512_fmsub_ps(low, scale_first, minimum_first),
                    _mm512_fmsub_ps(high, scale_last, minimum_last));
            }
        }
    }
    for (int i = 0; i < 8; i++) _mm_prefetch(scales + i * REGISTER + AHEAD, _MM_HINT_T0);
}

static inline __m512 bytes(const uint8_t *from) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)from)));
}

/* A group of 16 inputs: 8 pairs of 64 outputs by two inputs, a byte each, then 64 scales. */
static void expand_8(uint8_t *to, const uint8_t *from) {
    const uint8_t *scales = from + CODES_8 * PANEL;
    for (int b = 0; b < PANEL / LANES; b++) {
        __m512 scale = _mm512_loadu_ps(scales + b * REGISTER);
        __m512 scale_first = first_twice(scale), scale_last = last_twice(scale);
        for (int pair = 0; pair < CODES_8 / 2; pair++) {
            const uint8_t *at = from + pair * 2 * PANEL + b * 2 * LANES;
            if (b % 2 == 0) _mm_prefetch(at + AHEAD, _MM_HINT_T0);
            put(to + pair * PAIR + b * REGISTER, _mm512_mul_ps(bytes(at), scale_first),
                _mm512_mul_ps(bytes(at + LANES), scale_last));
        }
        _mm_prefetch(scales + b * REGISTER + AHEAD, _MM_HINT_T0);
    }
}

void expand(uint8_t *to, const uint8_t *from, int64_t pairs, int bits) {
    int64_t size = bits == 4 ? CODES_4 : CODES_8, bytes = bits == 4 ? GROUP_4_BYTES : GROUP_8_BYTES;
    for (int64_t pair = 0; pair < pairs; pair += size / 2, from += bytes, to += size / 2 * PAIR) {
        if (bits == 4)
            expand_4(to, from);
        else
            expand_8(to, from);
    }
}
