/* The learned token router (kernels/head.py) in one call. It runs once a pass of the small model, whose weights have by
 * then driven everything else out of the caches: what counts is to touch little, and each weight once. */
#include "native.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { EIGHT = 8, SUMS = 4 };

/* In the order in which torch sums up to 512 numbers, so that a doubt has the same bits wherever it is computed. */
static float mean_of_squares(const bf16 *from, int64_t width) {
    float sums[SUMS][EIGHT] = {{0}}, mean = 0.f;
    for (int64_t i = 0; i < width; i += LANES) {
        float squares[LANES];
        _mm512_storeu_ps(squares, _mm512_mul_ps(widen(from + i), widen(from + i)));
        for (int64_t j = 0; j < LANES; j++) sums[(i + j) / EIGHT % SUMS][j % EIGHT] += squares[j];
    }
    for (int lane = 0; lane < EIGHT; lane++)
        mean += ((sums[0][lane] + sums[1][lane]) + sums[2][lane]) + sums[3][lane];
    return mean / (float)width;
}

static void normed(bf16 *to, const bf16 *from, const float *weight, float eps, int64_t rows, int64_t width) {
    for (; rows > 0; rows--, from += width, to += width) {
        __m512 factor = _mm512_set1_ps(1.f / sqrtf(mean_of_squares(from, width) + eps));
        for (int64_t i = 0; i < width; i += LANES)
            narrow(to + i, _mm512_mul_ps(_mm512_mul_ps(widen(from + i), factor), _mm512_loadu_ps(weight + i)));
    }
}

static void above_zero(bf16 *rows, int64_t count) {
    for (int64_t i = 0; i < count; i += LANES) {
        __m256i *at = (__m256i *)(rows + i); /* a bf16 below zero is an integer below zero */
        _mm256_storeu_si256(at, _mm256_max_epi16(_mm256_loadu_si256(at), _mm256_setzero_si256()));
    }
}

static void add(bf16 *to, const bf16 *more, int64_t count) {
    for (int64_t i = 0; i < count; i += LANES) narrow(to + i, _mm512_add_ps(widen(to + i), widen(more + i)));
}

/* What the first layer reads of a row: hidden state, how far its highest logits fall, and the token's embedding. */
static void look(const Head *head, bf16 *to, const bf16 *hidden, const float *tops, int64_t token) {
    memcpy(to, hidden, sizeof(bf16) * (size_t)head->width);
    to += head->width;
    for (int64_t i = 0; i < head->tops; i += LANES) {
        __mmask16 real = head->tops - i >= LANES ? 0xFFFF : (__mmask16)((1u << (head->tops - i)) - 1);
        __m512 fall = _mm512_sub_ps(_mm512_maskz_loadu_ps(real, tops + i), _mm512_set1_ps(tops[0]));
        _mm256_mask_storeu_epi16(to + i, real, (__m256i)_mm512_cvtneps_pbh(fall));
    }
    memcpy(to + head->tops, head->tokens + token % head->buckets * head->narrow, sizeof(bf16) * (size_t)head->narrow);
}

static bf16 *room(int64_t rows, int64_t width) {
    return aligned_alloc(64, (sizeof(bf16) * (size_t)(rows * width) + 63) / 64 * 64);
}

int doubts(const Head *head, float *to, const bf16 *hidden, const float *tops, const int64_t *tokens, int64_t rows,
           unsigned threads) {
    const int64_t inner = head->in.outputs, last = head->out.outputs, wide = head->wide;
    bf16 *seen = room(rows, head->in.inputs), *stream = room(rows, inner), *inside = room(rows, inner);
    bf16 *up = room(rows, wide), *said = room(rows, last);
    int failed = !seen || !stream || !inside || !up || !said;
    if (!failed) {
        for (int64_t r = 0; r < rows; r++)
            look(head, seen + r * head->in.inputs, hidden + r * head->width, tops + r * head->tops, tokens[r]);
        failed |= linear(&head->in, stream, seen, 0, rows, threads, &head->blocks->up);
        for (int64_t b = 0; b < head->count; b++) {
            const Block *block = head->blocks + b;
            normed(inside, stream, block->norm, head->eps, rows, inner);
            failed |= linear(&block->up, up, inside, 0, rows, threads, &block->down);
            above_zero(up, rows * wide);
            failed |= linear(&block->down, inside, up, 0, rows, threads, b + 1 < head->count ? &block[1].up : &head->out);
            add(stream, inside, rows * inner);
        }
        normed(inside, stream, head->norm, head->eps, rows, inner);
        failed |= linear(&head->out, said, inside, 0, rows, threads, 0);
        for (int64_t r = 0; r < rows; r++) {
            uint32_t word = (uint32_t)said[r * last] << 16;
            float x;
            memcpy(&x, &word, sizeof x);
            to[r] = (float)(1. / (1. + exp(-(double)x)));
        }
    }
    free(seen);
    free(stream);
    free(inside);
    free(up);
    free(said);
    return failed ? -1 : 0;
}
