/* A decoder's parts for processors with AVX-512 bf16.
 *
 * One promise shapes them: a row's result has the same bits whatever other rows are computed with it
 * (docs/decisions/0001). Every sum here runs over its own row in one fixed order, so it holds by
 * construction. Parallel work is cut by outputs, never inside a sum.
 */
#pragma once

#include "vector.h"

/* The OpenMP runtime that torch has loaded: a second pool of threads would fight it for the cores. */
void GOMP_parallel(void (*work)(void *), void *data, unsigned threads, unsigned flags);
int omp_get_thread_num(void);
int omp_get_num_threads(void);

enum { PANEL = 64 }; /* outputs whose weights lie together, see linear.c */

/* How weights lie in memory: as they are; 4 bits to be multiplied; 4 or 8 bits that stand for exact bf16, their
 * scales as fp32 or nested, as multiples of a unit. */
enum Kind { BF16, INT4, CODED4, CODED8, NESTED4, NESTED8 };

typedef struct {
    const void *weights; /* panels, zeros behind the last output */
    const float *bias;   /* [outputs] or null */
    int64_t inputs;      /* a multiple of 32; of 128 where scales are nested */
    int64_t outputs;     /* a multiple of 16 */
    int64_t kind;        /* of Kind */
    int64_t gated;       /* gate and up alternate by 16 outputs; the result is silu(gate) * up */
} Linear;

typedef struct {
    const float *attention_norm, *query_norm, *key_norm, *ffn_norm; /* the middle two or null */
    Linear qkv, out, gate_up, down;
} Layer;

typedef struct {
    int64_t width, heads, kv_heads, head_dim;
    float eps;
    const float *cos, *sin;    /* [context, head_dim], sines of the first half negative */
    const float *final_norm;
    const Layer *layers;
} Decoder;

typedef struct {
    const float *norm;
    Linear up, down;
} Block;

/* The learned token router: see kernels/head.py. */
typedef struct {
    int64_t width, tops, buckets, narrow; /* hidden states, their highest logits, and embeddings of tokens */
    int64_t wide, count;                  /* of `blocks`, outputs of their `up`, and how many there are */
    float eps;
    const bf16 *tokens; /* [buckets, narrow] */
    Linear in;
    const Block *blocks;
    const float *norm;
    Linear out; /* of its outputs the first is meant */
} Head;

/* A new token: where its key and value go, and which keys it sees: a prefix of its session's places,
 * then single places behind it (its ancestors in a tree, and itself). */
typedef struct {
    const uint64_t *table; /* addresses of its session's blocks, [layers, 2, kv_heads, BLOCK, head_dim] each */
    int64_t position;      /* in the text */
    int64_t place;         /* in the cache */
    int64_t prefix;
    const int32_t *extra;
    int64_t extras;
} Row;

enum { BLOCK = 64 }; /* places */

/* to [rows, outputs] = from [rows, inputs] times the weights, plus bias, plus `residual` [rows, outputs]
 * where it is not null (it may be `to`). A gated layer's `to` has half as many outputs. `after` is the
 * layer whose weights will be needed next, or null. Returns 0, or -1 where there is no memory. */
int linear(const Linear *layer, bf16 *to, const bf16 *from, const bf16 *residual, int64_t rows, unsigned threads,
           const Linear *after);

/* Root-mean-square norm of rows [rows, width]. */
void norm(bf16 *to, const bf16 *from, const float *weight, float eps, int64_t rows, int64_t width);

/* Turns query and key heads of qkv [rows, heads + 2 * kv_heads, head_dim] by their positions, norms them
 * first where the model does, and puts keys and values into the cache. */
void place(const Decoder *model, int64_t depth, bf16 *qkv, const Row *rows, int64_t count);

/* to [count, heads * head_dim]: softmax attention of each row's queries over the keys it sees. */
void attend(const Decoder *model, int64_t depth, bf16 *to, const bf16 *qkv, const Row *rows, int64_t count,
            unsigned threads);

/* stream [count, width] through the first `depth` layers, in place; then normed into `to`. Returns 0, or
 * -1 where there is no memory. */
int forward(const Decoder *model, int64_t depth, bf16 *to, bf16 *stream, const Row *rows, int64_t count,
            unsigned threads);

/* to [rows] in [0, 1] = how much it matters if the small model speaks `tokens` [rows], of hidden states
 * [rows, width] and its highest logits [rows, tops], falling. Returns 0, or -1 where there is no memory. */
int doubts(const Head *head, float *to, const bf16 *hidden, const float *tops, const int64_t *tokens, int64_t rows,
           unsigned threads);
