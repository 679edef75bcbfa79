// Norms, rotary embedding, and attention over a paged cache.
#pragma once

#include <cmath>

#include "matrix.h"

template <typename T>
float inverse_rms(const T* x, int64_t size, float epsilon) {
    vf totals = {};
    float total = 0;
    int64_t i = 0;
    for (; i + LANES <= size; i += LANES) totals += load(x + i) * load(x + i);
    for (; i < size; i++) total += to_float(x[i]) * to_float(x[i]);
    return 1 / std::sqrt((total + sum(totals)) / size + epsilon);
}

constexpr int64_t ROWS_OF_A_PART = 32;

// work(first, last) over all rows, in parts. cost: of a row.
template <typename Work>
void over_rows(int64_t rows, int64_t cost, const Work& work) {
    share_work((rows + ROWS_OF_A_PART - 1) / ROWS_OF_A_PART, rows * cost, [&](int64_t part) {
        int64_t first = part * ROWS_OF_A_PART;
        work(first, rows - first < ROWS_OF_A_PART ? rows : first + ROWS_OF_A_PART);
    });
}

// x += delta where there is one; normed = RMS norm of x.
template <typename T>
void add_norm_row(T* x, const T* delta, int64_t size, const T* weight, float epsilon, T* normed) {
    int64_t i = 0;
    if (delta != nullptr) {
        for (; i + LANES <= size; i += LANES) store(x + i, load(x + i) + load(delta + i));
        for (; i < size; i++) store(x + i, to_float(x[i]) + to_float(delta[i]));
    }
    float scale = inverse_rms(x, size, epsilon);
    for (i = 0; i + LANES <= size; i += LANES) store(normed + i, load(x + i) * scale * load(weight + i));
    for (; i < size; i++) store(normed + i, to_float(x[i]) * scale * to_float(weight[i]));
}

template <typename T>
void add_norm(T* x, const T* delta, int64_t rows, int64_t size, const T* weight, float epsilon, T* normed) {
    over_rows(rows, size * 8, [=](int64_t first, int64_t last) {
        for (int64_t at = first * size; at < last * size; at += size)
            add_norm_row(x + at, delta == nullptr ? nullptr : delta + at, size, weight, epsilon, normed + at);
    });
}

template <typename T>
void norm_and_rotate(T* head, int64_t size, const T* weight, float epsilon, const float* cosines, const float* sines) {
    float scale = inverse_rms(head, size, epsilon);
    int64_t half = size / 2, i = 0;
    for (; i + LANES <= half; i += LANES) {
        vf first = load(head + i) * scale * load(weight + i);
        vf second = load(head + half + i) * scale * load(weight + half + i);
        store(head + i, first * load(cosines + i) - second * load(sines + i));
        store(head + half + i, second * load(cosines + i) + first * load(sines + i));
    }
    for (; i < half; i++) {
        float first = to_float(head[i]) * scale * to_float(weight[i]);
        float second = to_float(head[half + i]) * scale * to_float(weight[half + i]);
        store(head + i, first * cosines[i] - second * sines[i]);
        store(head + half + i, second * cosines[i] + first * sines[i]);
    }
}

// The cache of one layer: keys of block b, token t start at b * block + t * heads * size, values `to_values` further.
template <typename T>
struct Cache {
    T* data;
    int64_t block, to_values, block_tokens, heads, size;
    T* keys(int64_t number, int64_t token) const { return data + number * block + token * heads * size; }
};

// Queries and keys are normed and rotated in place; keys and values go to the cache.
template <typename T>
void prepare(T* packed, int64_t rows, int64_t heads, const Cache<T>& cache, const T* q_norm, const T* k_norm,
             float epsilon, const float* cosines, const float* sines, const int64_t* blocks, const int64_t* offsets) {
    int64_t size = cache.size, half = size / 2, width = cache.heads * size, stride = heads * size + 2 * width;
    over_rows(rows, stride * 8, [=](int64_t first, int64_t last) {
        for (int64_t row = first; row < last; row++) {
            T* from = packed + row * stride;
            for (int64_t head = 0; head < heads + cache.heads; head++)
                norm_and_rotate(from + head * size, size, head < heads ? q_norm : k_norm, epsilon, cosines + row * half,
                                sines + row * half);
            T* keys = cache.keys(blocks[row], offsets[row]);
            std::memcpy(keys, from + heads * size, width * sizeof(T));
            std::memcpy(keys + cache.to_values, from + heads * size + width, width * sizeof(T));
        }
    });
}

inline void softmax(float* scores, int64_t count) {
    float most = scores[0], total = 0;
    int64_t i = 0;
    if (count >= LANES) {
        vf largest = load(scores);
        for (i = LANES; i + LANES <= count; i += LANES) largest = larger(largest, load(scores + i));
        for (int lane = 0; lane < LANES; lane++) most = largest[lane] > most ? largest[lane] : most;
    }
    for (; i < count; i++) most = scores[i] > most ? scores[i] : most;
    vf totals = {};
    for (i = 0; i + LANES <= count; i += LANES) {
        vf found = exponential(load(scores + i) - most);
        store(scores + i, found);
        totals += found;
    }
    for (; i < count; i++) total += scores[i] = std::exp(scores[i] - most);
    float share = 1 / (total + sum(totals));
    for (i = 0; i + LANES <= count; i += LANES) store(scores + i, load(scores + i) * share);
    for (; i < count; i++) scores[i] *= share;
}

// One key head of a sequence: where its tokens are in the cache, values `to_values` after keys.
template <typename T>
struct Context {
    const T* const* keys;
    int64_t tokens, to_values, size;
};

// HEADS queries at once: a key is read once for all of them.
template <typename T, int HEADS>
void score_tokens(const T* const* queries, const Context<T>& context, float scale, float* const* scores) {
    constexpr int PER = LANES / HEADS;
    int64_t token = 0, size = context.size;
    const T* const* keys = context.keys;
    if (size % Product<T>::STEP == 0)
        for (; token + PER <= context.tokens; token += PER) {
            vf sums[LANES] = {};
            for (int64_t i = 0; i < size; i += Product<T>::STEP)
                for (int lane = 0; lane < LANES; lane++)
                    Product<T>::add(sums[lane], keys[token + lane % PER] + i, queries[lane / PER] + i);
            float lanes[LANES];
            store(lanes, sum_each(sums) * scale);
            for (int head = 0; head < HEADS; head++)
                std::memcpy(scores[head] + token, lanes + head * PER, PER * sizeof(float));
        }
    for (; token < context.tokens; token++)
        for (int head = 0; head < HEADS; head++) scores[head][token] = dot(queries[head], keys[token], size) * scale;
}

// The values of elements [first, last), each weighed by its token's share.
template <typename T>
void mix_some_values(const float* shares, const Context<T>& context, int64_t first, int64_t last, T* out) {
    int64_t i = first;
    for (; i + LANES <= last; i += LANES) {
        vf total = {};
        for (int64_t token = 0; token < context.tokens; token++)
            total += load(context.keys[token] + context.to_values + i) * shares[token];
        store(out + i, total);
    }
    for (; i < last; i++) {
        float total = 0;
        for (int64_t token = 0; token < context.tokens; token++)
            total += to_float(context.keys[token][context.to_values + i]) * shares[token];
        store(out + i, total);
    }
}

// As far as values are mixed for HEADS heads at once; the rest is left to `mix_some_values`.
template <typename T, int HEADS>
struct Mix {
    static int64_t run(float* const*, const Context<T>&, T* const*) { return 0; }
};
#if defined(__AVX512BF16__)
template <int HEADS>
struct Mix<bf16, HEADS> {
    // Two tokens' values meet two shares: what is in one lane of `low` and `high` belongs to the same element.
    static int64_t run(float* const* scores, const Context<bf16>& context, bf16* const* out) {
        constexpr int STEP = 2 * LANES;
        int64_t tokens = context.tokens, pairs = (tokens + 1) / 2, i = 0;
        uint32_t* shares = scratch<uint32_t, 36>(HEADS * (pairs + LANES));
        for (int head = 0; head < HEADS; head++) share_pairs(scores[head], tokens, (bf16*)(shares + head * pairs));
        for (; i + STEP <= context.size; i += STEP) {
            vf low[HEADS] = {}, high[HEADS] = {};
            for (int64_t pair = 0; pair < pairs; pair++) {
                int64_t token = 2 * pair, next = token + 1 < tokens ? token + 1 : token;
                __m512i a = _mm512_loadu_si512(context.keys[token] + context.to_values + i);
                __m512i b = _mm512_loadu_si512(context.keys[next] + context.to_values + i);
                __m512bh first = (__m512bh)_mm512_unpacklo_epi16(a, b), second = (__m512bh)_mm512_unpackhi_epi16(a, b);
                for (int head = 0; head < HEADS; head++) {
                    __m512bh share = (__m512bh)_mm512_set1_epi32(shares[head * pairs + pair]);
                    low[head] = (vf)_mm512_dpbf16_ps((__m512)low[head], first, share);
                    high[head] = (vf)_mm512_dpbf16_ps((__m512)high[head], second, share);
                }
            }
            for (int head = 0; head < HEADS; head++) store_by_fours(out[head] + i, low[head], high[head]);
        }
        return i;
    }
    static void share_pairs(const float* scores, int64_t tokens, bf16* shares) {
        int64_t i = 0;
        for (; i + LANES <= tokens; i += LANES) store(shares + i, load(scores + i));
        for (; i < tokens; i++) store(shares + i, scores[i]);
        if (tokens % 2) shares[tokens].bits = 0;
    }
    // Of each eight elements, `low` has four and `high` the next four.
    static void store_by_fours(bf16* to, vf low, vf high) {
        store(to, __builtin_shufflevector(low, high, 0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23));
        vf last = __builtin_shufflevector(low, high, 8, 9, 10, 11, 24, 25, 26, 27, 12, 13, 14, 15, 28, 29, 30, 31);
        store(to + LANES, last);
    }
};
#endif

template <typename T, int HEADS>
void attend_heads(const T* from, const Context<T>& context, float scale, T* to) {
    const T* queries[HEADS];
    T* out[HEADS];
    float *scores = scratch<float, 31>(HEADS * context.tokens), *scores_of[HEADS];
    for (int head = 0; head < HEADS; head++) {
        queries[head] = from + head * context.size;
        out[head] = to + head * context.size;
        scores_of[head] = scores + head * context.tokens;
    }
    score_tokens<T, HEADS>(queries, context, scale, scores_of);
    for (int head = 0; head < HEADS; head++) softmax(scores_of[head], context.tokens);
    int64_t done = Mix<T, HEADS>::run(scores_of, context, out);
    for (int head = 0; head < HEADS; head++) mix_some_values(scores_of[head], context, done, context.size, out[head]);
}

// Finds the tokens of a table's blocks, and asks for them in time.
template <typename T>
Context<T> find_context(const Cache<T>& cache, const int64_t* table, int64_t tokens, int64_t key_head) {
    const T** keys = scratch<const T*, 30>(tokens);
    for (int64_t first = 0; first < tokens; first += cache.block_tokens) {
        const T* next = cache.keys(table[first / cache.block_tokens], 0) + key_head * cache.size;
        for (int64_t token = first; token < tokens && token < first + cache.block_tokens; token++) {
            for (int64_t i = 0; i < cache.size; i += 64 / (int64_t)sizeof(T)) {
                __builtin_prefetch(next + i);
                __builtin_prefetch(next + cache.to_values + i);
            }
            keys[token] = next;
            next += cache.heads * cache.size;
        }
    }
    return {keys, tokens, cache.to_values, cache.size};
}

// One query a sequence over its blocks, where they lie. places: the rows of queries and results. lengths: tokens in the
// cache, the newest included.
template <typename T>
void attend(const T* queries, int64_t stride, const int64_t* places, int64_t rows, int64_t heads, const Cache<T>& cache,
            const int64_t* tables, int64_t width, const int64_t* lengths, float scale, T* out) {
    int64_t size = cache.size, group = heads / cache.heads, tokens = 0;
    for (int64_t row = 0; row < rows; row++) tokens += lengths[row];
    share_work(rows, tokens * heads * size * 4, [=](int64_t row) {
        const T* from = queries + places[row] * stride;
        T* to = out + places[row] * heads * size;
        for (int64_t key_head = 0; key_head < cache.heads; key_head++) {
            Context<T> context = find_context(cache, tables + row * width, lengths[row], key_head);
            int64_t head = key_head * group, last = head + group;
            for (; head + 4 <= last; head += 4) attend_heads<T, 4>(from + head * size, context, scale, to + head * size);
            for (; head + 2 <= last; head += 2) attend_heads<T, 2>(from + head * size, context, scale, to + head * size);
            for (; head < last; head++) attend_heads<T, 1>(from + head * size, context, scale, to + head * size);
        }
    });
}

// Keys [tokens, size] and values [size, even tokens], each in one piece, what lacks zero.
template <typename T>
void gather(const Context<T>& context, int64_t padded, T* keys, T* values) {
    std::memset((void*)values, 0, padded * context.size * sizeof(T));
    for (int64_t token = 0; token < context.tokens; token++) {
        const T* from = context.keys[token];
        std::memcpy(keys + token * context.size, from, context.size * sizeof(T));
        for (int64_t i = 0; i < context.size; i++) values[i * padded + token] = from[context.to_values + i];
    }
}

// Each lane's softmax over `tokens` vectors; lane l sees the first `seen` + l of them.
inline void softmax_beside(vf* scores, int64_t tokens, int64_t seen) {
    vf last, most, total = {};
    for (int lane = 0; lane < LANES; lane++) last[lane] = float(seen + lane), most[lane] = -3e38f;
    for (int64_t token = 0; token < tokens; token++) {
        if (token >= seen) scores[token] = last > float(token) ? scores[token] : scores[token] * 0 - 3e38f;
        most = larger(most, scores[token]);
    }
    for (int64_t token = 0; token < tokens; token++) {
        vf found = exponential(scores[token] - most);
        if (token >= seen) found = last > float(token) ? found : found * 0;
        total += scores[token] = found;
    }
    vf share = 1.0f / total;
    for (int64_t token = 0; token < tokens; token++) scores[token] *= share;
}

// Some tokens of a sequence in a row, from position `start`. first_row: of queries and results.
struct Span {
    int64_t first_row, count, start;
    const int64_t* table;
};

// Up to sixteen queries of one head, beside each other, over what was gathered. from: the first query. tokens: of the
// context that the last of them sees.
template <typename T>
void attend_beside(const T* from, int64_t stride, int64_t count, int64_t seen, const T* keys, const T* values,
                   int64_t padded, int64_t size, float scale, T* out, int64_t out_stride) {
    constexpr int STEP = Beside<T>::STEP;
    const T* rows[LANES];
    T* to[LANES];
    for (int64_t i = 0; i < count; i++) rows[i] = from + i * stride, to[i] = out + i * out_stride;
    int64_t tokens = seen + count - 1, even = (tokens + STEP - 1) / STEP * STEP;
    vf* packed = scratch<vf, 34>(size / STEP);
    vf* scores = scratch<vf, 35>(even);
    pack(rows, count, size / STEP, packed);
    meet_some(packed, size / STEP, keys, size, tokens, scores, false);
    for (int64_t token = 0; token < tokens; token++) scores[token] *= scale;
    softmax_beside(scores, tokens, seen);
    for (int64_t token = tokens; token < even; token++) scores[token] = vf{};
    for (int64_t token = 0; token < even; token += STEP) scores[token / STEP] = Beside<T>::join(scores + token);
    multiply_beside<T, T>(scores, count, even / STEP, values, padded, size, to, 0);
}

// Many queries a sequence, each over what is before it and itself.
template <typename T>
void attend_spans(const T* queries, int64_t stride, const Span* spans, int64_t num_spans, int64_t heads,
                  const Cache<T>& cache, float scale, T* out) {
    int64_t size = cache.size, group = heads / cache.heads, cost = 0;
    for (int64_t i = 0; i < num_spans; i++) cost += spans[i].count * (spans[i].start + spans[i].count) * heads * size;
    share_work(num_spans * cache.heads, cost, [=](int64_t part) {
        const Span& span = spans[part / cache.heads];
        int64_t key_head = part % cache.heads, tokens = span.start + span.count, padded = (tokens + 1) / 2 * 2;
        T* keys = scratch<T, 32>(tokens * size);
        T* values = scratch<T, 33>(padded * size);
        gather(find_context(cache, span.table, tokens, key_head), padded, keys, values);
        for (int64_t first = 0; first < span.count; first += LANES) {
            int64_t count = span.count - first < LANES ? span.count - first : LANES, row = span.first_row + first;
            for (int64_t head = key_head * group; head < (key_head + 1) * group; head++)
                attend_beside(queries + row * stride + head * size, stride, count, span.start + first + 1, keys, values,
                              padded, size, scale, out + (row * heads + head) * size, heads * size);
        }
    });
}
