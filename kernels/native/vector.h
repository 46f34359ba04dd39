/* The few vector operations everything here is made of: AVX-512 with bf16 products. */
#pragma once

#include <immintrin.h>
#include <stdint.h>

#define INLINE static inline __attribute__((always_inline))

typedef uint16_t bf16;

enum { LANES = 16 }; /* fp32 in a register; a register of bf16 holds as many pairs */

static inline __m512 widen(const bf16 *from) {
    __m512i words = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)from));
    return _mm512_castsi512_ps(_mm512_slli_epi32(words, 16));
}

static inline void narrow(bf16 *to, __m512 values) {
    _mm256_storeu_si256((__m256i *)to, (__m256i)_mm512_cvtneps_pbh(values));
}

/* Asks memory for what lies so many bytes from here, which may be another object's. */
INLINE void ask(const void *here, int64_t ahead) {
    _mm_prefetch((const char *)((uintptr_t)here + (uintptr_t)ahead), _MM_HINT_T0);
}

static inline __m512bh pairs(const bf16 *from) { return (__m512bh)_mm512_loadu_si512(from); }

/* e^x to 1 or 2 units in the last place: 2^n times a polynomial on half a binade around zero. */
static inline __m512 exponential(__m512 x) {
    x = _mm512_max_ps(_mm512_min_ps(x, _mm512_set1_ps(88.f)), _mm512_set1_ps(-87.f));
    __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504f)), 0);
    __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), x);
    r = _mm512_fnmadd_ps(n, _mm512_set1_ps(-2.12194440e-4f), r);
    __m512 sum = _mm512_set1_ps(1.f / 720);
    sum = _mm512_fmadd_ps(sum, r, _mm512_set1_ps(1.f / 120));
    sum = _mm512_fmadd_ps(sum, r, _mm512_set1_ps(1.f / 24));
    sum = _mm512_fmadd_ps(sum, r, _mm512_set1_ps(1.f / 6));
    sum = _mm512_fmadd_ps(sum, r, _mm512_set1_ps(.5f));
    sum = _mm512_fmadd_ps(sum, r, _mm512_set1_ps(1.f));
    sum = _mm512_fmadd_ps(sum, r, _mm512_set1_ps(1.f));
    return _mm512_scalef_ps(sum, n);
}
