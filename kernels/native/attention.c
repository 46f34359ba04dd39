/* Attention of new tokens over keys and values in blocks, each row by itself.
 *
 * Keys are counted as the row sees them, not as they lie in memory: its prefix, then its ancestors in a
 * tree. So a token of a side branch gets the bits it would get in a chain.
 */
#include "native.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { WIDEST = 256 }; /* head_dim; checked where the model is loaded */

/* Where a row's i-th key lies within its session: the block's address and the place in it. */
static inline const bf16 *key_of(const Decoder *model, const Row *row, int64_t i, int64_t plane) {
    int64_t place = i < row->prefix ? i : row->extra[i - row->prefix];
    return (const bf16 *)row->table[place / BLOCK] + plane + place % BLOCK * model->head_dim;
}

/* The first place of keys (what = 0) or values (1) of a head in a block. */
static inline int64_t plane_of(const Decoder *model, int64_t depth, int64_t what, int64_t head) {
    return ((depth * 2 + what) * model->kv_heads + head) * BLOCK * model->head_dim;
}

static float dot(const bf16 *a, const bf16 *b, int64_t dim) {
    __m512 sum = _mm512_setzero_ps();
    for (int64_t i = 0; i < dim; i += 2 * LANES) sum = _mm512_dpbf16_ps(sum, pairs(a + i), pairs(b + i));
    return _mm512_reduce_add_ps(sum);
}

/* One query head: softmax over scores of BLOCK keys at a time, rescaled as the maximum grows
 * (Milakov & Gimelshein 2018). */
typedef struct {
    float top, mass;
    float sum[WIDEST] __attribute__((aligned(64)));
} Partial;

static void scale(Partial *head, float by, int64_t dim) {
    __m512 factor = _mm512_set1_ps(by);
    head->mass *= by;
    for (int64_t i = 0; i < dim; i += LANES)
        _mm512_store_ps(head->sum + i, _mm512_mul_ps(_mm512_load_ps(head->sum + i), factor));
}

static float first_lane(__m512 x) { return _mm512_cvtss_f32(x); }

/* Takes in `count` keys and values; both arrays hold BLOCK pointers. */
static void take(Partial *head, const bf16 *query, const bf16 *const *keys, const bf16 *const *values, int64_t count,
                 int64_t dim, float root) {
    float weight[BLOCK] __attribute__((aligned(64)));
    float top = head->top;
    for (int64_t i = 0; i < count; i++) {
        weight[i] = dot(query, keys[i], dim) * root;
        if (weight[i] > top) top = weight[i];
    }
    for (int64_t i = count; i < BLOCK; i++) weight[i] = -INFINITY;
    if (top > head->top) {
        scale(head, head->mass > 0 ? first_lane(exponential(_mm512_set1_ps(head->top - top))) : 0.f, dim);
        head->top = top;
    }
    for (int64_t i = 0; i < BLOCK; i += LANES) {
        __m512 score = _mm512_load_ps(weight + i);
        __mmask16 real = _mm512_cmp_ps_mask(score, _mm512_set1_ps(-INFINITY), _CMP_GT_OQ);
        __m512 w = _mm512_maskz_mov_ps(real, exponential(_mm512_sub_ps(score, _mm512_set1_ps(top))));
        head->mass += _mm512_reduce_add_ps(w);
        _mm512_store_ps(weight + i, w);
    }
    for (int64_t d = 0; d < dim; d += 2 * LANES) {
        __m512 low = _mm512_load_ps(head->sum + d), high = _mm512_load_ps(head->sum + d + LANES);
        for (int64_t i = 0; i < count; i++) {
            __m512 w = _mm512_set1_ps(weight[i]);
            low = _mm512_fmadd_ps(w, widen(values[i] + d), low);
            high = _mm512_fmadd_ps(w, widen(values[i] + d + LANES), high);
        }
        _mm512_store_ps(head->sum + d, low);
        _mm512_store_ps(head->sum + d + LANES, high);
    }
}

typedef struct {
    const Decoder *model;
    int64_t depth, count, next;
    bf16 *to;
    const bf16 *qkv;
    const Row *rows;
} Job;

/* Keys and values of a row from its `first` on, at most BLOCK; returns how many. */
static int64_t found(const Decoder *model, const Row *row, int64_t first, int64_t keys_at, int64_t values_at,
                     const bf16 **keys, const bf16 **values) {
    int64_t left = row->prefix + row->extras - first, count = left < BLOCK ? left : BLOCK;
    for (int64_t i = 0; i < count; i++) {
        keys[i] = key_of(model, row, first + i, keys_at);
        values[i] = key_of(model, row, first + i, values_at);
    }
    return count;
}

/* All query heads of some rows that share a key head. Blocks that all of the rows see are brought in once for
 * all; each row takes in the same keys in the same order as if it were alone. */
static void group(const Job *job, int64_t at, int64_t rows, int64_t kv_head) {
    const Decoder *model = job->model;
    const Row *row = job->rows + at;
    int64_t dim = model->head_dim, shared = model->heads / model->kv_heads, common = row->prefix;
    int64_t keys_at = plane_of(model, job->depth, 0, kv_head), values_at = plane_of(model, job->depth, 1, kv_head);
    int64_t stride = (model->heads + 2 * model->kv_heads) * dim;
    const bf16 *query = job->qkv + at * stride + kv_head * shared * dim, *keys[BLOCK], *values[BLOCK];
    float root = 1.f / sqrtf((float)dim);
    Partial heads[rows * shared];
    for (int64_t h = 0; h < rows * shared; h++) {
        heads[h].top = -INFINITY;
        heads[h].mass = 0.f;
        memset(heads[h].sum, 0, sizeof(float) * (size_t)dim);
    }
    for (int64_t r = 1; r < rows; r++) common = row[r].prefix < common ? row[r].prefix : common;
    common -= common % BLOCK;
    for (int64_t first = 0; first < common; first += BLOCK) {
        found(model, row, first, keys_at, values_at, keys, values);
        for (int64_t r = 0; r < rows; r++)
            for (int64_t h = 0; h < shared; h++)
                take(heads + r * shared + h, query + r * stride + h * dim, keys, values, BLOCK, dim, root);
    }
    for (int64_t r = 0; r < rows; r++)
        for (int64_t first = common; first < row[r].prefix + row[r].extras; first += BLOCK) {
            int64_t count = found(model, row + r, first, keys_at, values_at, keys, values);
            for (int64_t h = 0; h < shared; h++)
                take(heads + r * shared + h, query + r * stride + h * dim, keys, values, count, dim, root);
        }
    for (int64_t r = 0; r < rows; r++) {
        bf16 *to = job->to + ((at + r) * model->heads + kv_head * shared) * dim;
        for (int64_t h = 0; h < shared; h++) {
            Partial *head = heads + r * shared + h;
            scale(head, 1.f / head->mass, dim);
            for (int64_t i = 0; i < dim; i += LANES) narrow(to + h * dim + i, _mm512_load_ps(head->sum + i));
        }
    }
}

enum { TOGETHER = 8 }; /* rows at most whose heads take in a block while it is in the cache */

static void attend_work(void *data) {
    Job *job = data;
    int64_t kv_heads = job->model->kv_heads;
    for (;;) {
        int64_t task = __atomic_fetch_add(&job->next, 1, __ATOMIC_RELAXED);
        int64_t at = task / kv_heads * TOGETHER, rows = 1;
        if (at >= job->count) return;
        /* Rows of another session read another table. */
        for (int64_t end = at + TOGETHER < job->count ? at + TOGETHER : job->count; at < end; at += rows) {
            for (rows = 1; at + rows < end && job->rows[at + rows].table == job->rows[at].table; rows++) {
            }
            group(job, at, rows, task % kv_heads);
        }
    }
}

void attend(const Decoder *model, int64_t depth, bf16 *to, const bf16 *qkv, const Row *rows, int64_t count,
            unsigned threads) {
    Job job = {model, depth, count, 0, to, qkv, rows};
    GOMP_parallel(attend_work, &job, threads, 0);
}

/* A head of head_dim numbers, normed where the model norms its heads, turned by its position
 * (Su et al. 2021; halves form the pairs). */
static void turn(const Decoder *model, bf16 *to, const bf16 *from, const float *weight, int64_t position) {
    int64_t dim = model->head_dim, half = dim / 2;
    bf16 normed[WIDEST];
    if (weight) {
        norm(normed, from, weight, model->eps, 1, dim);
        from = normed;
    }
    const float *cos = model->cos + position * dim, *sin = model->sin + position * dim;
    for (int64_t i = 0; i < half; i += LANES) {
        __m512 low = widen(from + i), high = widen(from + half + i);
        __m512 c = _mm512_loadu_ps(cos + i), s = _mm512_loadu_ps(sin + half + i);
        narrow(to + i, _mm512_fnmadd_ps(high, s, _mm512_mul_ps(low, c)));
        narrow(to + half + i, _mm512_fmadd_ps(low, s, _mm512_mul_ps(high, c)));
    }
}

static void place_row(const Decoder *model, int64_t depth, bf16 *qkv, const Row *row) {
    int64_t dim = model->head_dim, heads = model->heads, kv_heads = model->kv_heads;
    const Layer *layer = model->layers + depth;
    bf16 *block = (bf16 *)row->table[row->place / BLOCK] + row->place % BLOCK * dim;
    for (int64_t h = 0; h < heads; h++) turn(model, qkv + h * dim, qkv + h * dim, layer->query_norm, row->position);
    for (int64_t h = 0; h < kv_heads; h++) {
        const bf16 *key = qkv + (heads + h) * dim, *value = qkv + (heads + kv_heads + h) * dim;
        turn(model, block + plane_of(model, depth, 0, h), key, layer->key_norm, row->position);
        memcpy(block + plane_of(model, depth, 1, h), value, sizeof(bf16) * (size_t)dim);
    }
}

void place(const Decoder *model, int64_t depth, bf16 *qkv, const Row *rows, int64_t count) {
    int64_t stride = (model->heads + 2 * model->kv_heads) * model->head_dim;
    for (int64_t r = 0; r < count; r++) place_row(model, depth, qkv + r * stride, rows + r);
}
