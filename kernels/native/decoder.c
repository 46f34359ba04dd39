/* A step through the decoder. */
#include "native.h"

#include <math.h>
#include <stdlib.h>

void norm(bf16 *to, const bf16 *from, const float *weight, float eps, int64_t rows, int64_t width) {
    for (; rows > 0; rows--, from += width, to += width) {
        __m512 squares = _mm512_setzero_ps();
        for (int64_t i = 0; i < width; i += LANES) squares = _mm512_fmadd_ps(widen(from + i), widen(from + i), squares);
        float mean = _mm512_reduce_add_ps(squares) / (float)width;
        __m512 factor = _mm512_set1_ps(1.f / sqrtf(mean + eps));
        for (int64_t i = 0; i < width; i += LANES)
            narrow(to + i, _mm512_mul_ps(_mm512_mul_ps(widen(from + i), factor), _mm512_loadu_ps(weight + i)));
    }
}

static bf16 *room(int64_t numbers) { return aligned_alloc(64, (sizeof(bf16) * (size_t)numbers + 63) / 64 * 64); }

int forward(const Decoder *model, int64_t depth, bf16 *to, bf16 *stream, const Row *rows, int64_t count,
            unsigned threads) {
    const Layer *layer = model->layers;
    int64_t width = model->width;
    bf16 *normed = room(count * width), *qkv = room(count * layer->qkv.outputs);
    bf16 *seen = room(count * model->heads * model->head_dim), *gated = room(count * layer->gate_up.outputs / 2);
    int failed = !normed || !qkv || !seen || !gated;
    for (int64_t d = 0; d < depth && !failed; d++, layer++) {
        norm(normed, stream, layer->attention_norm, model->eps, count, width);
        failed |= linear(&layer->qkv, qkv, normed, 0, count, threads, &layer->out);
        place(model, d, qkv, rows, count);
        attend(model, d, seen, qkv, rows, count, threads);
        failed |= linear(&layer->out, stream, seen, stream, count, threads, &layer->gate_up);
        norm(normed, stream, layer->ffn_norm, model->eps, count, width);
        failed |= linear(&layer->gate_up, gated, normed, 0, count, threads, &layer->down);
        failed |= linear(&layer->down, stream, gated, stream, count, threads, d + 1 < depth ? &layer[1].qkv : 0);
    }
    norm(to, stream, model->final_norm, model->eps, count, width);
    free(normed);
    free(qkv);
    free(seen);
    free(gated);
    return failed ? -1 : 0;
}
