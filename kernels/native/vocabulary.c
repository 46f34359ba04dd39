/* What there is to know of logits over a whole vocabulary, read once and without a copy. */
#include "native.h"

#include <math.h>

/* The k best of what has been offered, best first; of equals the lower id, which must come first. */
typedef struct {
    int64_t *ids;
    float *scores;
    int64_t count, k;
} Best;

static inline float bar(const Best *best) { return best->count < best->k ? -INFINITY : best->scores[best->k - 1]; }

static void offer(Best *best, int64_t id, float score) {
    if (best->count == best->k && score <= bar(best)) return;
    int64_t at = best->count < best->k ? best->count++ : best->k - 1;
    for (; at > 0 && best->scores[at - 1] < score; at--) {
        best->scores[at] = best->scores[at - 1];
        best->ids[at] = best->ids[at - 1];
    }
    best->scores[at] = score;
    best->ids[at] = id;
}

static __m512 lanes(const bf16 *logits, int64_t at, int64_t count, float otherwise) {
    if (count - at >= LANES) return widen(logits + at);
    bf16 rest[LANES];
    for (int64_t i = 0; i < LANES; i++) rest[i] = at + i < count ? logits[at + i] : 0;
    __mmask16 real = (__mmask16)((1u << (count - at)) - 1);
    return _mm512_mask_mov_ps(_mm512_set1_ps(otherwise), real, widen(rest));
}

static void survey_row(const bf16 *logits, int64_t count, Best *best, float *log_sum, float *entropy) {
    for (int64_t at = 0; at < count; at += LANES) {
        __m512 x = lanes(logits, at, count, -INFINITY);
        uint32_t above = _mm512_cmp_ps_mask(x, _mm512_set1_ps(bar(best)), _CMP_GT_OQ);
        float scores[LANES];
        if (above) _mm512_storeu_ps(scores, x);
        for (; above; above &= above - 1) offer(best, at + __builtin_ctz(above), scores[__builtin_ctz(above)]);
    }
    /* With e = exp(x - top): log sum e^x = top + log sum e; entropy = log sum e - sum e (x - top) / sum e. */
    float top = best->scores[0];
    __m512 mass = _mm512_setzero_ps(), moment = _mm512_setzero_ps();
    for (int64_t at = 0; at < count; at += LANES) {
        __m512 below = _mm512_max_ps(_mm512_sub_ps(lanes(logits, at, count, -INFINITY), _mm512_set1_ps(top)),
                                     _mm512_set1_ps(-87.f)); /* e^-87 is nothing, and so is -87 times it */
        __m512 e = exponential(below);
        mass = _mm512_add_ps(mass, e);
        moment = _mm512_fmadd_ps(e, below, moment);
    }
    float sum = _mm512_reduce_add_ps(mass);
    *log_sum = top + logf(sum);
    *entropy = logf(sum) - _mm512_reduce_add_ps(moment) / sum;
}

typedef struct {
    const bf16 *logits;
    int64_t rows, count, k, *ids;
    float *scores, *log_sum, *entropy;
    int64_t next;
} Surveyed;

static void survey_work(void *data) {
    Surveyed *job = data;
    for (;;) {
        int64_t r = __atomic_fetch_add(&job->next, 1, __ATOMIC_RELAXED);
        if (r >= job->rows) return;
        Best best = {job->ids + r * job->k, job->scores + r * job->k, 0, job->k};
        survey_row(job->logits + r * job->count, job->count, &best, job->log_sum + r, job->entropy + r);
    }
}

/* Of each row of logits [rows, count]: its k best ids and logits, the log of the sum of all exponentials, and
 * the entropy in nats. k <= count. */
void survey(const bf16 *logits, int64_t rows, int64_t count, int64_t k, int64_t *ids, float *scores, float *log_sum,
            float *entropy, unsigned threads) {
    Surveyed job = {logits, rows, count, k, ids, scores, log_sum, entropy, 0};
    if (rows > 1)
        GOMP_parallel(survey_work, &job, threads, 0);
    else
        survey_work(&job);
}

/* Philox4x64-10 (Salmon et al., SC 2011), as docs/noise.md has it: the words of eight tokens. */
static void philox(uint64_t words[4], uint64_t seed, uint64_t stream, uint64_t position, uint64_t block) {
    uint64_t c0 = block + 1, c1 = position, c2 = 0, c3 = 0, k0 = seed, k1 = stream;
    for (int round = 0; round < 10; round++) {
        unsigned __int128 left = (unsigned __int128)0xD2E7470EE14C6C93ull * c0;
        unsigned __int128 right = (unsigned __int128)0xCA5A826395121157ull * c2;
        uint64_t first = (uint64_t)(right >> 64) ^ c1 ^ k0, third = (uint64_t)(left >> 64) ^ c3 ^ k1;
        c1 = (uint64_t)right;
        c3 = (uint64_t)left;
        c0 = first;
        c2 = third;
        k0 += 0x9E3779B97F4A7C15ull;
        k1 += 0xBB67AE8584CAA73Bull;
    }
    words[0] = c0;
    words[1] = c1;
    words[2] = c2;
    words[3] = c3;
}

typedef struct {
    uint64_t seed, stream, position;
    int64_t block; /* whose words these are; -1: none */
    uint64_t words[4];
} Noise;

static uint32_t word_of(Noise *noise, int64_t token) {
    if (noise->block != token / 8) {
        noise->block = token / 8;
        philox(noise->words, noise->seed, noise->stream, noise->position, (uint64_t)noise->block);
    }
    return (uint32_t)(noise->words[token % 8 / 2] >> 32 * (token % 2));
}

static float gumbel(uint32_t word) { return (float)-log(-log((word + 0.5) * 0x1p-32)); }

enum { LIKELIEST = 64 };

static const float MOST = 22.9f; /* more than any word's noise */

/* More than a word's noise, without a logarithm: -log(-log U) <= -log(1 - U), and 1 - U is below the next
 * power of two. Few words come near what a token needs to win. */
static float at_most(uint32_t word) { return 0.6931473f * (float)(__builtin_clz(~word | 1) + 1); }

/* Below this a sum cannot be one of the k best; what lies as near as rounding is let through. */
static float least_of(const Best *best, int64_t k) {
    if (best->count < k) return -INFINITY;
    float last = best->scores[k - 1];
    return last - 1e-5f - 1e-6f * fabsf(last);
}

/* What noise is added to: fp32 scores, or bf16 logits of which a score is (logit - the largest) / temperature. */
typedef struct {
    const void *numbers;
    int64_t count;
    float top, temperature;
} Scores;

INLINE __m512 numbers_at(const int raw, const Scores *of, int64_t at) {
    if (raw) return lanes(of->numbers, at, of->count, -INFINITY);
    __mmask16 real = of->count - at >= LANES ? 0xFFFF : (__mmask16)((1u << (of->count - at)) - 1);
    return _mm512_mask_loadu_ps(_mm512_set1_ps(-INFINITY), real, (const float *)of->numbers + at);
}

INLINE __m512 scores_at(const int raw, const Scores *of, int64_t at) {
    __m512 x = numbers_at(raw, of, at);
    if (!raw) return x;
    return _mm512_div_ps(_mm512_sub_ps(x, _mm512_set1_ps(of->top)), _mm512_set1_ps(of->temperature));
}

/* The k best of scores plus their noise, and behind them up to `more` that come as near as rounding: ids and words,
 * with the sums in `totals`. Only tokens that could be among them get their noise, so a distribution with a peak
 * costs little more than reading it. Returns how many there are: fewer than k where fewer scores are above
 * -infinity. Sets `of->top` where numbers are raw. */
INLINE int64_t noisy(const int raw, Scores *of, int64_t k, int64_t more, Noise noise, int64_t *ids, uint32_t *words,
                     float *totals) {
    Best best = {ids, totals, 0, k + more};
    float likeliest[LIKELIEST], sums[LIKELIEST], some[LANES];
    int64_t known[LIKELIEST], order[LIKELIEST];
    Best first = {known, likeliest, 0, LIKELIEST}, noised = {order, sums, 0, LIKELIEST};
    for (int64_t at = 0; at < of->count; at += LANES) {
        __m512 x = numbers_at(raw, of, at);
        uint32_t above = _mm512_cmp_ps_mask(x, _mm512_set1_ps(bar(&first)), _CMP_GT_OQ);
        if (above) _mm512_storeu_ps(some, x);
        for (; above; above &= above - 1) offer(&first, at + __builtin_ctz(above), some[__builtin_ctz(above)]);
    }
    if (raw && first.count) {
        of->top = likeliest[0];
        for (int64_t i = 0; i < first.count; i++) likeliest[i] = (likeliest[i] - of->top) / of->temperature;
    }
    /* What the k best of the likeliest reach with their noise, the k best of all reach as well. */
    for (int64_t i = 0; i < first.count; i++)
        offer(&noised, known[i], likeliest[i] + gumbel(word_of(&noise, known[i])));
    float floor = k > LIKELIEST ? -INFINITY : least_of(&noised, k);
    for (int64_t at = 0; at < of->count; at += LANES) {
        __m512 x = scores_at(raw, of, at);
        float least = fmaxf(floor, least_of(&best, k));
        __m512 reach = _mm512_add_ps(x, _mm512_set1_ps(MOST));
        uint32_t able = _mm512_cmp_ps_mask(reach, _mm512_set1_ps(least), _CMP_GE_OQ) &
                        _mm512_cmp_ps_mask(x, _mm512_set1_ps(-INFINITY), _CMP_GT_OQ);
        if (able) _mm512_storeu_ps(some, x);
        for (; able; able &= able - 1) {
            int64_t token = at + __builtin_ctz(able);
            float score = some[__builtin_ctz(able)];
            uint32_t word = word_of(&noise, token);
            if (score + at_most(word) >= least) offer(&best, token, score + gumbel(word));
        }
    }
    for (int64_t i = 0; i < best.count; i++) words[i] = word_of(&noise, ids[i]);
    return best.count;
}

/* Of scores [count] fp32, as above. */
int64_t noisy_best(const float *scores, int64_t count, int64_t k, int64_t more, uint64_t seed, uint64_t stream,
                   uint64_t position, int64_t *ids, uint32_t *words, float *totals) {
    Scores of = {scores, count, 0.f, 1.f};
    return noisy(0, &of, k, more, (Noise){seed, stream, position, -1, {0}}, ids, words, totals);
}

typedef struct {
    const bf16 *logits;
    int64_t count, draws, more, room;
    const int64_t *rows, *k;
    const float *temperatures;
    const uint64_t *seeds, *positions;
    int64_t *ids, *found;
    uint32_t *words;
    float *totals, *tops;
    int64_t next;
} Drawn;

static void draw_work(void *data) {
    Drawn *job = data;
    for (;;) {
        int64_t d = __atomic_fetch_add(&job->next, 1, __ATOMIC_RELAXED), at = d * job->room;
        if (d >= job->draws) return;
        Scores of = {job->logits + job->rows[d] * job->count, job->count, 0.f, job->temperatures[d]};
        Noise noise = {job->seeds[d], 0, job->positions[d], -1, {0}};
        job->found[d] = noisy(1, &of, job->k[d], job->more, noise, job->ids + at, job->words + at, job->totals + at);
        job->tops[d] = of.top;
    }
}

/* The same for `draws` rows of logits [any, count], each with its k, temperature, seed and position: ids, words and
 * totals [draws, room], with room for the largest k and `more`; how many were found, and each row's largest logit. */
void noisy_rows(const bf16 *logits, int64_t count, int64_t draws, int64_t more, int64_t room, const int64_t *rows,
                const int64_t *k, const float *temperatures, const uint64_t *seeds, const uint64_t *positions, int64_t *ids,
                uint32_t *words, float *totals, int64_t *found, float *tops, unsigned threads) {
    Drawn job = {logits, count, draws, more, room, rows, k, temperatures, seeds, positions, ids, found, words, totals, tops, 0};
    if (draws > 1)
        GOMP_parallel(draw_work, &job, threads, 0);
    else
        draw_work(&job);
}
