/* Linear layers, as fast as their weights can be read.
 *
 * A panel holds the weights of 64 outputs: for every pair of inputs four registers of 16 outputs by two
 * inputs, which is what a bf16 product instruction takes. Every output is summed over its inputs from the
 * first to the last in one lane, whatever the number of rows. 4-bit panels hold 64 bytes for every pair of
 * inputs, a group of 32 inputs at a time, and behind a group its 64 scales and zeros. Weights kept as codes
 * (codes.h) are expanded in registers for a single row, and for more a chunk at a time in the first-level cache.
 */
#include "codes.h"

#include <stdlib.h>
#include <string.h>

enum {
    TILE = 6,       /* rows at once: 6 x 4 sums, 4 weights and a row's inputs fill the 32 registers */
    CHUNK = 64,     /* pairs of inputs that stay in the first-level cache while all rows pass */
    STRIP = 256,    /* rows that share one reading of the weights from memory */
    GROUP = 32,     /* inputs that share a scale */
    CODES = GROUP / 2 * PANEL, /* bytes */
    SCALES = PANEL * 4
};

/* sums [rows, 64] += from [rows] times the weights of `count` pairs, those `ahead` bytes from here asked of memory. */
INLINE void multiply_bf16(const int rows, float *sums, const uint32_t *from, int64_t stride, const uint8_t *weights,
                          int64_t count, const int asks, int64_t ahead) {
    __m512 sum[TILE][4];
    for (int r = 0; r < rows; r++)
        for (int b = 0; b < 4; b++) sum[r][b] = _mm512_loadu_ps(sums + r * PANEL + b * LANES);
    for (int64_t k = 0; k < count; k++, weights += 4 * 64) {
        __m512bh w[4];
        for (int b = 0; b < 4; b++) {
            if (asks) ask(weights + b * 64, ahead);
            w[b] = (__m512bh)_mm512_loadu_si512(weights + b * 64);
        }
        for (int r = 0; r < rows; r++) {
            __m512bh x = (__m512bh)_mm512_set1_epi32(from[r * stride + k]);
            for (int b = 0; b < 4; b++) sum[r][b] = _mm512_dpbf16_ps(sum[r][b], w[b], x);
        }
    }
    for (int r = 0; r < rows; r++)
        for (int b = 0; b < 4; b++) _mm512_storeu_ps(sums + r * PANEL + b * LANES, sum[r][b]);
}

/* A code 0..15 as the bf16 number code - 8; twice, because the lookup takes five bits of which one is noise. */
static const bf16 CODE[32] = {
    0xC100, 0xC0E0, 0xC0C0, 0xC0A0, 0xC080, 0xC040, 0xC000, 0xBF80, 0x0000, 0x3F80, 0x4000, 0x4040, 0x4080, 0x40A0, 0x40C0, 0x40E0,
    0xC100, 0xC0E0, 0xC0C0, 0xC0A0, 0xC080, 0xC040, 0xC000, 0xBF80, 0x0000, 0x3F80, 0x4000, 0x4040, 0x4080, 0x40A0, 0x40C0, 0x40E0,
};

/* The same for one group of 4-bit weights; totals [rows] are the sums of the group's inputs. */
INLINE void multiply_int4(const int rows, float *sums, const uint32_t *from, int64_t stride, const float *totals,
                          int64_t totals_stride, const uint8_t *weights, int64_t ahead) {
    const __m512i code = _mm512_loadu_si512(CODE);
    __m512 sum[TILE][4];
    for (int r = 0; r < rows; r++)
        for (int b = 0; b < 4; b++) sum[r][b] = _mm512_setzero_ps();
    for (int64_t k = 0; k < GROUP / 2; k++) {
        ask(weights + k * 64, ahead);
        __m512i nibbles = _mm512_loadu_si512(weights + k * 64);
        __m512bh w[4];
        for (int b = 0; b < 4; b++)
            w[b] = (__m512bh)_mm512_permutexvar_epi16(_mm512_srli_epi16(nibbles, 4 * b), code);
        for (int r = 0; r < rows; r++) {
            __m512bh x = (__m512bh)_mm512_set1_epi32(from[r * stride + k]);
            for (int b = 0; b < 4; b++) sum[r][b] = _mm512_dpbf16_ps(sum[r][b], w[b], x);
        }
    }
    for (int b = 0; b < 4; b++) {
        ask(weights + CODES + b * 64, ahead);
        __m512i both = _mm512_loadu_si512(weights + CODES + b * 64);
        __m512 scale = _mm512_castsi512_ps(_mm512_slli_epi32(both, 16));
        __m512 zero = _mm512_castsi512_ps(_mm512_and_si512(both, _mm512_set1_epi32((int)0xFFFF0000)));
        for (int r = 0; r < rows; r++) {
            float *at = sums + r * PANEL + b * LANES;
            __m512 whole = _mm512_fmadd_ps(sum[r][b], scale, _mm512_loadu_ps(at));
            whole = _mm512_fmadd_ps(_mm512_set1_ps(totals[r * totals_stride]), zero, whole);
            _mm512_storeu_ps(at, whole);
        }
    }
}

typedef struct {
    const Linear *layer, *after; /* after: the layer that comes next, or null */
    bf16 *to;
    const bf16 *from, *residual;
    const float *totals; /* [rows, inputs / GROUP], for 4-bit weights */
    int64_t rows, taken; /* of its panels: all but each thread's first */
} Job;

/* Some rows times a chunk of a panel's weights. */
typedef struct {
    int64_t row, pair, count;
    const uint8_t *weights;
    int64_t ahead; /* bytes from a weight to the one to be asked of memory meanwhile */
} Part;

INLINE const uint32_t *inputs(const Job *job, const Part *part) {
    return (const uint32_t *)job->from + part->row * (job->layer->inputs / 2) + part->pair;
}

INLINE void tile_bf16(const int rows, float *sums, const Job *job, const Part *part) {
    multiply_bf16(rows, sums, inputs(job, part), job->layer->inputs / 2, part->weights, part->count, 1, part->ahead);
}

/* The same with weights that have just been expanded. */
INLINE void tile_coded(const int rows, float *sums, const Job *job, const Part *part) {
    multiply_bf16(rows, sums, inputs(job, part), job->layer->inputs / 2, part->weights, part->count, 0, 0);
}

INLINE void tile_int4(const int rows, float *sums, const Job *job, const Part *part) {
    int64_t stride = job->layer->inputs / 2, groups = job->layer->inputs / GROUP;
    const uint8_t *weights = part->weights;
    for (int64_t k = 0; k < part->count; k += GROUP / 2, weights += CODES + SCALES)
        multiply_int4(rows, sums, inputs(job, part) + k, stride,
                      job->totals + part->row * groups + (part->pair + k) / (GROUP / 2), groups, weights, part->ahead);
}

typedef void (*Tile)(float *, const Job *, const Part *);

/* One function a number of rows, so that the sums stay in registers. */
#define SIZED(KIND, ROWS) \
    static void KIND##_##ROWS(float *sums, const Job *job, const Part *part) { KIND(ROWS, sums, job, part); }
#define EVERY_SIZE(KIND) \
    SIZED(KIND, 1) SIZED(KIND, 2) SIZED(KIND, 3) SIZED(KIND, 4) SIZED(KIND, 5) SIZED(KIND, 6) \
    static const Tile KIND##s[] = {0, KIND##_1, KIND##_2, KIND##_3, KIND##_4, KIND##_5, KIND##_6};
EVERY_SIZE(tile_bf16)
EVERY_SIZE(tile_int4)
EVERY_SIZE(tile_coded)

/* Weights kept as codes: written out, or a single row's sums. */
#define CODED(NAME, LAYOUT)                                                                                 \
    static void expand_##NAME(uint8_t *to, const Part *part) {                                            \
        multiply_coded(0, LAYOUT, 0, 0, part->weights, part->count, part->ahead, to);                       \
    }                                                                                                     \
    static void single_##NAME(float *sums, const Job *job, const Part *part) {                            \
        multiply_coded(1, LAYOUT, sums, inputs(job, part), part->weights, part->count, part->ahead, 0);     \
    }
CODED(coded4, CODED4)
CODED(coded8, CODED8)
CODED(nested4, NESTED4)
CODED(nested8, NESTED8)

typedef struct {
    const Tile *tiles;
    void (*expand)(uint8_t *, const Part *); /* null, as `single`, where nothing is coded */
    Tile single;
} Kernels;

static const Kernels KINDS[] = {
    [BF16] = {tile_bf16s, 0, 0},
    [INT4] = {tile_int4s, 0, 0},
    [CODED4] = {tile_codeds, expand_coded4, single_coded4},
    [CODED8] = {tile_codeds, expand_coded8, single_coded8},
    [NESTED4] = {tile_codeds, expand_nested4, single_nested4},
    [NESTED8] = {tile_codeds, expand_nested8, single_nested8},
};

/* Of a panel, the bytes of so many pairs of inputs. */
static int64_t bytes(const Linear *layer, int64_t pairs) {
    if (layer->kind == BF16) return pairs * 2 * PANEL * (int64_t)sizeof(bf16);
    if (layer->kind == INT4) return pairs / (GROUP / 2) * (CODES + SCALES);
    const Layout layout = layout_of((int)layer->kind);
    return pairs / (layout.group * layout.groups / 2) * block_bytes(layout);
}

static __m512 biased(const Linear *layer, int64_t output, __m512 sum) {
    return layer->bias ? _mm512_add_ps(sum, _mm512_loadu_ps(layer->bias + output)) : sum;
}

/* Sixteen outputs of one row, from their sums. */
static void finish(const Job *job, int64_t row, int64_t output, __m512 sum) {
    int64_t at = row * job->layer->outputs + output;
    sum = biased(job->layer, output, sum);
    if (job->residual) sum = _mm512_add_ps(sum, widen(job->residual + at));
    narrow(job->to + at, sum);
}

static void finish_gated(const Job *job, int64_t row, int64_t output, __m512 gate, __m512 up) {
    __m512 one = _mm512_set1_ps(1.f);
    gate = biased(job->layer, output, gate);
    up = biased(job->layer, output + LANES, up);
    __m512 damp = _mm512_add_ps(one, exponential(_mm512_sub_ps(_mm512_setzero_ps(), gate)));
    narrow(job->to + (row * job->layer->outputs + output) / 2, _mm512_mul_ps(_mm512_div_ps(gate, damp), up));
}

static const uint8_t *weights_of(const Linear *layer, int64_t panel) {
    return (const uint8_t *)layer->weights + panel * bytes(layer, layer->inputs / 2);
}

/* Rows times a panel. Memory is asked for weights some chunks ahead, near the end for the first of those that come
 * `then`: a panel is short, so what waits for its first weights waits for much of it. */
static void strip(const Job *job, int64_t panel, int64_t first, int64_t rows, const uint8_t *then) {
    const Linear *layer = job->layer;
    const Kernels *kind = KINDS + layer->kind;
    const uint8_t *weights = weights_of(layer, panel);
    const int64_t pairs = layer->inputs / 2, whole = (pairs + CHUNK - 1) / CHUNK * CHUNK;
    const int64_t early = layer->kind == BF16 ? CHUNK : 2 * CHUNK; /* 10 to 20 kB */
    float sums[STRIP * PANEL] __attribute__((aligned(64)));
    uint8_t expanded[CHUNK * 2 * PANEL * sizeof(bf16)] __attribute__((aligned(64)));
    memset(sums, 0, sizeof(float) * (size_t)(rows * PANEL));
    for (int64_t pair = 0; pair < pairs; pair += CHUNK) {
        const uint8_t *chunk = weights + bytes(layer, pair);
        const int64_t count = pairs - pair < CHUNK ? pairs - pair : CHUNK, soon = pair + early;
        const uint8_t *next = soon < pairs ? weights + bytes(layer, soon) : then + bytes(layer, soon - whole);
        Part part = {first, pair, count, chunk, (int64_t)((uintptr_t)next - (uintptr_t)chunk)};
        if (kind->expand && rows == 1) {
            kind->single(sums, job, &part);
            continue;
        }
        if (kind->expand) {
            kind->expand(expanded, &part);
            part.weights = expanded;
        }
        for (int64_t row = 0, left = (rows + TILE - 1) / TILE; left > 0; left--) {
            int64_t size = (rows - row + left - 1) / left; /* 8 rows are 4 and 4, not 6 and 2 */
            part.row = first + row;
            kind->tiles[size](sums + row * PANEL, job, &part);
            row += size;
        }
    }
    for (int64_t row = 0; row < rows; row++)
        for (int64_t lane = 0; lane < PANEL && panel * PANEL + lane < layer->outputs; lane += LANES) {
            const float *sum = sums + row * PANEL + lane;
            int64_t output = panel * PANEL + lane;
            if (!layer->gated)
                finish(job, first + row, output, _mm512_load_ps(sum));
            else if (output % (2 * LANES) == 0)
                finish_gated(job, first + row, output, _mm512_load_ps(sum), _mm512_load_ps(sum + LANES));
        }
}

static void work(void *data) {
    Job *job = data;
    const Linear *layer = job->layer, *after = job->after;
    const int64_t panels = (layer->outputs + PANEL - 1) / PANEL, thread = omp_get_thread_num();
    for (int64_t panel = thread, next; panel < panels; panel = next) {
        /* First come, first served, since cores of a shared machine are not equally fast; one panel early, to ask
         * memory for it. */
        next = omp_get_num_threads() + __atomic_fetch_add(&job->taken, 1, __ATOMIC_RELAXED);
        const uint8_t *then = next < panels ? weights_of(layer, next)
                              : after       ? weights_of(after, thread)
                                            : layer->weights;
        for (int64_t first = 0, left = job->rows; left > 0; first += STRIP, left -= STRIP)
            strip(job, panel, first, left < STRIP ? left : STRIP, left > STRIP ? weights_of(layer, panel) : then);
    }
}

static void sum_groups(float *totals, const bf16 *from, int64_t groups) {
    const __m512bh ones = (__m512bh)_mm512_set1_epi16(0x3F80);
    for (int64_t g = 0; g < groups; g++)
        totals[g] = _mm512_reduce_add_ps(_mm512_dpbf16_ps(_mm512_setzero_ps(), pairs(from + g * GROUP), ones));
}

int linear(const Linear *layer, bf16 *to, const bf16 *from, const bf16 *residual, int64_t rows, unsigned threads,
           const Linear *after) {
    Job job = {layer, after, to, from, residual, 0, rows, 0};
    float *totals = 0;
    if (layer->kind == INT4) {
        int64_t groups = rows * layer->inputs / GROUP;
        totals = malloc(sizeof(float) * (size_t)groups);
        if (!totals) return -1;
        sum_groups(totals, from, groups);
        job.totals = totals;
    }
    GOMP_parallel(work, &job, threads, 0);
    free(totals);
    return 0;
}
