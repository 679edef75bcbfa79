// What a step computes for a few rows at a time, where the calls of a tensor library cost more than the work.
//
// Element type T is float or bfloat16; sums are float. Matrices are row-major, weights [outputs, inputs] as in a
// checkpoint: they are read where they lie, nothing is repacked. Compiled for the machine it runs on (see build.py).

#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>
#if defined(__AVX512BF16__)
#include <immintrin.h>
#endif

namespace {

struct bf16 {
    uint16_t bits;
};

typedef float vf __attribute__((vector_size(64)));
typedef uint32_t vu __attribute__((vector_size(64)));
typedef int32_t vi __attribute__((vector_size(64)));
typedef uint16_t vh __attribute__((vector_size(32)));
constexpr int LANES = 16;

inline float to_float(float value) { return value; }
inline float to_float(bf16 value) {
    uint32_t bits = uint32_t(value.bits) << 16;
    float result;
    std::memcpy(&result, &bits, 4);
    return result;
}
inline void store(float* to, float value) { *to = value; }
inline void store(bf16* to, float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, 4);
    // To nearest, ties to even; what is not a number stays none.
    to->bits = uint16_t((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
    if ((bits & 0x7fffffff) > 0x7f800000) to->bits = 0x7fc0;
}
inline void store(float* to, vf value) { std::memcpy(to, &value, 64); }
inline void store(bf16* to, vf value) {
    vu bits = (vu)value;
    vu rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    vu is_none = (vu)((bits & 0x7fffffff) > 0x7f800000);
    vh half = __builtin_convertvector((rounded & ~is_none) | (is_none & 0x7fc0), vh);
    std::memcpy(to, &half, 32);
}
inline vf load(const float* from) {
    vf result;
    std::memcpy(&result, from, 64);
    return result;
}
inline vf load(const bf16* from) {
    vh half;
    std::memcpy(&half, from, 32);
    vu wide = __builtin_convertvector(half, vu) << 16;
    return (vf)wide;
}
// e to the power of each lane: 2^n * e^r with |r| <= ln(2) / 2, e^r by its series (Cephes' expf).
inline vf exponential(vf x) {
    x = x < -87.0f ? x * 0 - 87.0f : x;
    x = x > 88.0f ? x * 0 + 88.0f : x;
    vi n = __builtin_convertvector(x * 1.44269504f + (x < 0 ? x * 0 - 0.5f : x * 0 + 0.5f), vi);
    vf whole = __builtin_convertvector(n, vf);
    vf r = x - whole * 0.693359375f + whole * 2.12194440e-4f;
    vf series = ((((1.9875691500e-4f * r + 1.3981999507e-3f) * r + 8.3334519073e-3f) * r + 4.1665795894e-2f) * r +
                 1.6666665459e-1f) * r + 5.0000001201e-1f;
    return (series * r * r + r + 1.0f) * (vf)((n + 127) << 23);
}
inline float sum(vf value) {
    float total = 0;
    for (int lane = 0; lane < LANES; lane++) total += value[lane];
    return total;
}

// STEP inputs per call: acc += a * b, lane by lane.
template <typename T>
struct Product {
    static constexpr int STEP = LANES;
    static inline void add(vf& acc, const T* a, const T* b) { acc += load(a) * load(b); }
};
#if defined(__AVX512BF16__)
template <>
struct Product<bf16> {
    static constexpr int STEP = 2 * LANES;
    static inline void add(vf& acc, const bf16* a, const bf16* b) {
        acc = (vf)_mm512_dpbf16_ps((__m512)acc, (__m512bh)_mm512_loadu_si512(a), (__m512bh)_mm512_loadu_si512(b));
    }
};
#endif

// Which lane of two vectors in a row: WIDTH of the first, WIDTH of the second, by turns.
template <int WIDTH>
constexpr int turn(int lane) {
    return lane / (2 * WIDTH) * (2 * WIDTH) + lane % WIDTH + (lane % (2 * WIDTH) >= WIDTH ? LANES : 0);
}
template <int WIDTH, int SHIFT>
inline vf by_turns(vf a, vf b) {
    return __builtin_shufflevector(
        a, b, turn<WIDTH>(0) + SHIFT, turn<WIDTH>(1) + SHIFT, turn<WIDTH>(2) + SHIFT, turn<WIDTH>(3) + SHIFT,
        turn<WIDTH>(4) + SHIFT, turn<WIDTH>(5) + SHIFT, turn<WIDTH>(6) + SHIFT, turn<WIDTH>(7) + SHIFT,
        turn<WIDTH>(8) + SHIFT, turn<WIDTH>(9) + SHIFT, turn<WIDTH>(10) + SHIFT, turn<WIDTH>(11) + SHIFT,
        turn<WIDTH>(12) + SHIFT, turn<WIDTH>(13) + SHIFT, turn<WIDTH>(14) + SHIFT, turn<WIDTH>(15) + SHIFT);
}
template <int WIDTH>
inline vf fold(const vf* sums) {
    vf first = fold<WIDTH / 2>(sums), second = fold<WIDTH / 2>(sums + WIDTH);
    return by_turns<WIDTH, 0>(first, second) + by_turns<WIDTH, WIDTH>(first, second);
}
template <>
inline vf fold<0>(const vf* sums) {
    return *sums;
}
// Lane i of the result is the sum over all lanes of sums[i].
inline vf sum_each(const vf* sums) { return fold<LANES / 2>(sums); }

template <typename T>
float dot(const T* a, const T* b, int64_t size) {
    vf acc = {};
    int64_t i = 0;
    for (; i + Product<T>::STEP <= size; i += Product<T>::STEP) Product<T>::add(acc, a + i, b + i);
    float total = sum(acc);
    for (; i < size; i++) total += to_float(a[i]) * to_float(b[i]);
    return total;
}

// ROWS rows times LANES / ROWS weights at once: lane row * PER + output of the result.
template <typename T, int ROWS>
inline vf products(const T* const* rows, const T* weights, int64_t inputs) {
    constexpr int PER = LANES / ROWS, STEP = Product<T>::STEP;
    vf sums[LANES] = {};
    for (int64_t i = 0; i + STEP <= inputs; i += STEP)
        for (int output = 0; output < PER; output++)
            for (int row = 0; row < ROWS; row++)
                Product<T>::add(sums[row * PER + output], rows[row] + i, weights + output * inputs + i);
    vf result = sum_each(sums);
    for (int64_t i = inputs / STEP * STEP; i < inputs; i++)
        for (int lane = 0; lane < LANES; lane++)
            result[lane] += to_float(rows[lane / PER][i]) * to_float(weights[lane % PER * inputs + i]);
    return result;
}

template <typename T, typename Out, int ROWS>
void multiply_block(const T* const* rows, int64_t inputs, const T* weights, int64_t outputs, Out* const* out) {
    constexpr int PER = LANES / ROWS;
    int64_t output = 0;
    for (; output + PER <= outputs; output += PER) {
        vf found = products<T, ROWS>(rows, weights + output * inputs, inputs);
        Out lanes[LANES];
        store(lanes, found);
        for (int row = 0; row < ROWS; row++) std::memcpy(out[row] + output, lanes + row * PER, PER * sizeof(Out));
    }
    for (; output < outputs; output++)
        for (int row = 0; row < ROWS; row++) store(out[row] + output, dot(rows[row], weights + output * inputs, inputs));
}

// out[r][o] = rows[r] . weights[o]. The weights are walked in strips that stay in the first cache for all rows.
template <typename T, typename Out>
void multiply(const T* const* rows, int64_t count, int64_t inputs, const T* weights, int64_t outputs, Out* const* out) {
    constexpr int64_t STRIP = 32;
    std::vector<Out*> shifted(count);
    for (int64_t first = 0; first < outputs; first += STRIP) {
        int64_t size = outputs - first < STRIP ? outputs - first : STRIP;
        for (int64_t row = 0; row < count; row++) shifted[row] = out[row] + first;
        const T* strip = weights + first * inputs;
        int64_t row = 0;
        for (; row + 4 <= count; row += 4) multiply_block<T, Out, 4>(rows + row, inputs, strip, size, &shifted[row]);
        for (; row + 2 <= count; row += 2) multiply_block<T, Out, 2>(rows + row, inputs, strip, size, &shifted[row]);
        for (; row < count; row++) multiply_block<T, Out, 1>(rows + row, inputs, strip, size, &shifted[row]);
    }
}

template <typename T>
void linear(const T* x, int64_t rows, int64_t inputs, const T* weights, int64_t outputs, T* out) {
    std::vector<const T*> from(rows);
    std::vector<T*> to(rows);
    for (int64_t row = 0; row < rows; row++) from[row] = x + row * inputs, to[row] = out + row * outputs;
    multiply<T, T>(from.data(), rows, inputs, weights, outputs, to.data());
}

// silu(gate) * up, where `wide` is the gates and then the ups.
template <typename T>
void activate(const float* wide, int64_t inner, T* out) {
    int64_t i = 0;
    for (; i + LANES <= inner; i += LANES) {
        vf gate = load(wide + i);
        store(out + i, gate / (1.0f + exponential(-gate)) * load(wide + inner + i));
    }
    for (; i < inner; i++) store(out + i, wide[i] / (1 + std::exp(-wide[i])) * wide[inner + i]);
}

// SwiGLU of `rows` through one expert: gate and up [2 * inner, hidden], then down [hidden, inner].
template <typename T, typename Out>
void gated_mlp(const std::vector<const T*>& rows, const T* expert, int64_t hidden, int64_t inner,
               const std::vector<Out*>& out) {
    int64_t count = rows.size();
    std::vector<float> wide(count * 2 * inner);
    std::vector<T> narrow(count * inner);
    std::vector<float*> wide_rows(count);
    std::vector<const T*> narrow_rows(count);
    for (int64_t row = 0; row < count; row++) {
        wide_rows[row] = &wide[row * 2 * inner];
        narrow_rows[row] = &narrow[row * inner];
    }
    multiply<T, float>(rows.data(), count, hidden, expert, 2 * inner, wide_rows.data());
    for (int64_t row = 0; row < count; row++) activate(wide_rows[row], inner, &narrow[row * inner]);
    multiply<T, Out>(narrow_rows.data(), count, inner, expert + 2 * inner * hidden, hidden, out.data());
}

// entries: (expert, first row, first result, rows) by four, the same expert's next to each other: its weights are read
// once for all of them, whoever asks.
template <typename T>
void run_groups(int64_t hidden, int64_t inner, const int64_t* experts, const int64_t* entries, int64_t num_entries) {
    std::vector<const T*> from;
    std::vector<T*> to;
    for (int64_t e = 0; e < num_entries; e++) {
        const int64_t* entry = entries + 4 * e;
        for (int64_t i = 0; i < entry[3]; i++) {
            from.push_back((const T*)entry[1] + i * hidden);
            to.push_back((T*)entry[2] + i * hidden);
        }
        if (e + 1 == num_entries || entry[4] != entry[0]) {
            gated_mlp<T, T>(from, (const T*)experts[entry[0]], hidden, inner, to);
            from.clear();
            to.clear();
        }
    }
}

// Each row through its chosen experts, mixed by weight in the order of the choices.
template <typename T>
void mix_experts(const T* x, int64_t tokens, int64_t hidden, int64_t inner, const int64_t* experts, int64_t num_experts,
                 const int64_t* chosen, const T* weights, int64_t k, T* out) {
    std::vector<float> results(tokens * k * hidden);
    std::vector<std::vector<int64_t>> pairs(num_experts);
    for (int64_t pair = 0; pair < tokens * k; pair++) pairs[chosen[pair]].push_back(pair);
    for (int64_t expert = 0; expert < num_experts; expert++) {
        if (pairs[expert].empty()) continue;
        std::vector<const T*> from;
        std::vector<float*> to;
        for (int64_t pair : pairs[expert]) from.push_back(x + pair / k * hidden), to.push_back(&results[pair * hidden]);
        gated_mlp<T, float>(from, (const T*)experts[expert], hidden, inner, to);
    }
    for (int64_t token = 0; token < tokens; token++, weights += k, out += hidden) {
        const float* from = &results[token * k * hidden];
        int64_t i = 0;
        for (; i + LANES <= hidden; i += LANES) {
            vf total = {};
            for (int64_t j = 0; j < k; j++) total += to_float(weights[j]) * load(from + j * hidden + i);
            store(out + i, total);
        }
        for (; i < hidden; i++) {
            float total = 0;
            for (int64_t j = 0; j < k; j++) total += to_float(weights[j]) * from[j * hidden + i];
            store(out + i, total);
        }
    }
}

template <typename T>
float inverse_rms(const T* x, int64_t size, float epsilon) {
    vf totals = {};
    float total = 0;
    int64_t i = 0;
    for (; i + LANES <= size; i += LANES) totals += load(x + i) * load(x + i);
    for (; i < size; i++) total += to_float(x[i]) * to_float(x[i]);
    return 1 / std::sqrt((total + sum(totals)) / size + epsilon);
}

// x += delta where there is one; normed = RMS norm of x.
template <typename T>
void add_norm(T* x, const T* delta, int64_t rows, int64_t size, const T* weight, float epsilon, T* normed) {
    for (int64_t row = 0; row < rows; row++, x += size, normed += size) {
        int64_t i = 0;
        if (delta != nullptr) {
            for (; i + LANES <= size; i += LANES) store(x + i, load(x + i) + load(delta + i));
            for (; i < size; i++) store(x + i, to_float(x[i]) + to_float(delta[i]));
            delta += size;
        }
        float scale = inverse_rms(x, size, epsilon);
        for (i = 0; i + LANES <= size; i += LANES) store(normed + i, load(x + i) * scale * load(weight + i));
        for (; i < size; i++) store(normed + i, to_float(x[i]) * scale * to_float(weight[i]));
    }
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
    int64_t size = cache.size, half = size / 2, width = cache.heads * size;
    for (int64_t row = 0; row < rows; row++, cosines += half, sines += half) {
        for (int64_t head = 0; head < heads + cache.heads; head++)
            norm_and_rotate(packed + head * size, size, head < heads ? q_norm : k_norm, epsilon, cosines, sines);
        T* keys = cache.keys(blocks[row], offsets[row]);
        std::memcpy(keys, packed + heads * size, width * sizeof(T));
        std::memcpy(keys + cache.to_values, packed + heads * size + width, width * sizeof(T));
        packed += heads * size + 2 * width;
    }
}

template <typename T>
void score_tokens(const T* query, const T* const* keys, int64_t tokens, int64_t size, float scale, float* scores) {
    int64_t token = 0;
    if (size % Product<T>::STEP == 0)
        for (; token + LANES <= tokens; token += LANES) {
            vf sums[LANES] = {};
            for (int64_t i = 0; i < size; i += Product<T>::STEP)
                for (int lane = 0; lane < LANES; lane++) Product<T>::add(sums[lane], keys[token + lane] + i, query + i);
            vf found = sum_each(sums) * scale;
            std::memcpy(scores + token, &found, 64);
        }
    for (; token < tokens; token++) scores[token] = dot(query, keys[token], size) * scale;
}

inline void softmax(float* scores, int64_t count) {
    float most = scores[0], total = 0;
    for (int64_t i = 1; i < count; i++) most = scores[i] > most ? scores[i] : most;
    int64_t i = 0;
    vf totals = {};
    for (; i + LANES <= count; i += LANES) {
        vf found = exponential(load(scores + i) - most);
        store(scores + i, found);
        totals += found;
    }
    for (; i < count; i++) total += scores[i] = std::exp(scores[i] - most);
    total += sum(totals);
    for (i = 0; i < count; i++) scores[i] /= total;
}

template <typename T>
void mix_values(const float* shares, const T* const* keys, int64_t to_values, int64_t tokens, int64_t size, T* out) {
    int64_t i = 0;
    for (; i + 4 * LANES <= size; i += 4 * LANES) {
        vf sums[4] = {};
        for (int64_t token = 0; token < tokens; token++)
            for (int part = 0; part < 4; part++)
                sums[part] += load(keys[token] + to_values + i + part * LANES) * shares[token];
        for (int part = 0; part < 4; part++) store(out + i + part * LANES, sums[part]);
    }
    for (; i < size; i++) {
        float total = 0;
        for (int64_t token = 0; token < tokens; token++) total += to_float(keys[token][to_values + i]) * shares[token];
        store(out + i, total);
    }
}

// One query a sequence over its blocks, where they lie. places: the rows of queries and results. lengths: tokens in the cache, the newest included.
template <typename T>
void attend(const T* queries, int64_t stride, const int64_t* places, int64_t rows, int64_t heads, const Cache<T>& cache, const int64_t* tables,
            int64_t width, const int64_t* lengths, float scale, T* out) {
    std::vector<const T*> keys;
    std::vector<float> scores;
    int64_t size = cache.size, group = heads / cache.heads;
    for (int64_t row = 0; row < rows; row++) {
        int64_t tokens = lengths[row];
        const T* from = queries + places[row] * stride;
        T* to = out + places[row] * heads * size;
        keys.resize(tokens);
        scores.resize(tokens);
        for (int64_t key_head = 0; key_head < cache.heads; key_head++) {
            for (int64_t first = 0; first < tokens; first += cache.block_tokens) {
                const T* next = cache.keys(tables[row * width + first / cache.block_tokens], 0) + key_head * size;
                for (int64_t token = first; token < tokens && token < first + cache.block_tokens; token++) {
                    keys[token] = next;
                    next += cache.heads * size;
                }
            }
            for (int64_t head = key_head * group; head < (key_head + 1) * group; head++) {
                score_tokens(from + head * size, keys.data(), tokens, size, scale, scores.data());
                softmax(scores.data(), tokens);
                mix_values(scores.data(), keys.data(), cache.to_values, tokens, size, to + head * size);
            }
        }
    }
}

// Softmax over the experts' scores; the k largest, divided by their sum where `is_normed`. counts: added to.
template <typename T>
void route(const T* scores, int64_t rows, int64_t experts, int64_t k, int64_t is_normed, int64_t* chosen, T* weights) {
    std::vector<float> shares(experts);
    for (int64_t row = 0; row < rows; row++, scores += experts, chosen += k, weights += k) {
        for (int64_t i = 0; i < experts; i++) shares[i] = to_float(scores[i]);
        softmax(shares.data(), experts);
        std::vector<float> found(k);
        float total = 0;
        for (int64_t j = 0; j < k; j++) {
            int64_t best = 0;
            for (int64_t i = 1; i < experts; i++) best = shares[i] > shares[best] ? i : best;
            chosen[j] = best;
            total += found[j] = shares[best];
            shares[best] = -1;
        }
        for (int64_t j = 0; j < k; j++) store(weights + j, is_normed ? found[j] / total : found[j]);
    }
}

}  // namespace

#define EXPORTS(NAME, T)                                                                                               \
    extern "C" void linear_##NAME(const T* x, int64_t rows, int64_t inputs, const T* w, int64_t outputs, T* out) {      \
        linear(x, rows, inputs, w, outputs, out);                                                                      \
    }                                                                                                                  \
    extern "C" void run_groups_##NAME(int64_t hidden, int64_t inner, const int64_t* experts, const int64_t* entries,    \
                                      int64_t num_entries) {                                                           \
        run_groups<T>(hidden, inner, experts, entries, num_entries);                                                   \
    }                                                                                                                  \
    extern "C" void mix_experts_##NAME(const T* x, int64_t tokens, int64_t hidden, int64_t inner,                       \
                                       const int64_t* experts, int64_t num_experts, const int64_t* chosen,             \
                                       const T* weights, int64_t k, T* out) {                                          \
        mix_experts(x, tokens, hidden, inner, experts, num_experts, chosen, weights, k, out);                          \
    }                                                                                                                  \
    extern "C" void add_norm_##NAME(T* x, const T* delta, int64_t rows, int64_t size, const T* weight, float epsilon,   \
                                    T* normed) {                                                                       \
        add_norm(x, delta, rows, size, weight, epsilon, normed);                                                       \
    }                                                                                                                  \
    extern "C" void prepare_##NAME(T* packed, int64_t rows, int64_t heads, T* data, const int64_t* cache,               \
                                   const T* q_norm, const T* k_norm, float epsilon, const float* cosines,              \
                                   const float* sines, const int64_t* blocks, const int64_t* offsets) {                \
        Cache<T> layer{data, cache[0], cache[1], cache[2], cache[3], cache[4]};                                        \
        prepare(packed, rows, heads, layer, q_norm, k_norm, epsilon, cosines, sines, blocks, offsets);                 \
    }                                                                                                                  \
    extern "C" void attend_##NAME(const T* queries, int64_t stride, const int64_t* places, int64_t rows, int64_t heads, T* data, \
                                  const int64_t* cache, const int64_t* tables, int64_t width, const int64_t* lengths,  \
                                  float scale, T* out) {                                                               \
        Cache<T> layer{data, cache[0], cache[1], cache[2], cache[3], cache[4]};                                        \
        attend(queries, stride, places, rows, heads, layer, tables, width, lengths, scale, out);                               \
    }                                                                                                                  \
    extern "C" void route_##NAME(const T* scores, int64_t rows, int64_t experts, int64_t k, int64_t is_normed,          \
                                 int64_t* chosen, T* weights) {                                                        \
        route(scores, rows, experts, k, is_normed, chosen, weights);                                                   \
    }

EXPORTS(float32, float)
EXPORTS(bfloat16, bf16)
