// Sixteen floats at a time, and rows of float or bfloat16 as such. Sums are float.
#pragma once

#include <cstdint>
#include <cstring>
#if defined(__AVX512BF16__)
#include <immintrin.h>
#endif

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
// Each lane as bfloat16, in the lower half of its 32 bits.
inline vu rounded(vf value) {
    vu bits = (vu)value;
    vu found = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    vu is_none = (vu)((bits & 0x7fffffff) > 0x7f800000);
    return (found & ~is_none) | (is_none & 0x7fc0);
}
inline void store(float* to, vf value) { std::memcpy(to, &value, 64); }
inline void store(bf16* to, vf value) {
    vh half = __builtin_convertvector(rounded(value), vh);
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
template <typename T>
inline vf load_some(const T* from, int64_t count) {
    vf result = {};
    for (int64_t i = 0; i < count; i++) result[i] = to_float(from[i]);
    return result;
}
template <typename T>
inline void store_some(T* to, vf value, int64_t count) {
    for (int64_t i = 0; i < count; i++) store(to + i, value[i]);
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
inline vf larger(vf a, vf b) { return a > b ? a : b; }
inline float sum(vf value) {
    float total = 0;
    for (int lane = 0; lane < LANES; lane++) total += value[lane];
    return total;
}
inline vf silu(vf value) { return value / (1.0f + exponential(-value)); }

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

template <int WIDTH>
inline void swap_squares(vf* rows) {
    for (int i = 0; i < LANES; i++) {
        if (i & WIDTH) continue;
        vf first = rows[i], second = rows[i + WIDTH];
        rows[i] = by_turns<WIDTH, 0>(first, second);
        rows[i + WIDTH] = by_turns<WIDTH, WIDTH>(first, second);
    }
}
// Lane i of vector j becomes lane j of vector i, for 16 vectors.
inline void transpose(vf* rows) {
    swap_squares<8>(rows);
    swap_squares<4>(rows);
    swap_squares<2>(rows);
    swap_squares<1>(rows);
}

// STEP elements per call: acc += a * b, lane by lane.
template <typename T>
struct Product {
    static constexpr int STEP = LANES;
    static inline void add(vf& acc, const T* a, const T* b) { acc += load(a) * load(b); }
};
// Sixteen rows beside each other, a row a lane: a vector holds STEP elements of each. `spread` makes sixteen vectors of
// one row's elements into what its lane of sixteen such vectors holds; `join` makes one of STEP vectors of floats;
// `add` multiplies STEP elements of all rows by the same STEP weights.
template <typename T>
struct Beside {
    static constexpr int STEP = 1;
    static inline vf spread(const T* row) { return load(row); }
    static inline vf spread_some(const T* row, int64_t steps) { return load_some(row, steps); }
    static inline vf join(const vf* values) { return *values; }
    static inline void add(vf& acc, vf rows, const T* weight) { acc += rows * to_float(*weight); }
};
#if defined(__AVX512BF16__)
template <>
struct Product<bf16> {
    static constexpr int STEP = 2 * LANES;
    static inline void add(vf& acc, const bf16* a, const bf16* b) {
        acc = (vf)_mm512_dpbf16_ps((__m512)acc, (__m512bh)_mm512_loadu_si512(a), (__m512bh)_mm512_loadu_si512(b));
    }
};
template <>
struct Beside<bf16> {
    static constexpr int STEP = 2;
    static inline vf spread(const bf16* row) { return load((const float*)row); }
    static inline vf spread_some(const bf16* row, int64_t steps) {
        vf result = {};
        std::memcpy(&result, row, steps * 4);
        return result;
    }
    static inline vf join(const vf* values) { return (vf)(rounded(values[0]) | rounded(values[1]) << 16); }
    static inline void add(vf& acc, vf rows, const bf16* weight) {
        int32_t pair;
        std::memcpy(&pair, weight, 4);
        acc = (vf)_mm512_dpbf16_ps((__m512)acc, (__m512bh)rows, (__m512bh)_mm512_set1_epi32(pair));
    }
};
#endif

template <typename T>
inline float dot(const T* a, const T* b, int64_t size) {
    vf acc = {};
    int64_t i = 0;
    for (; i + Product<T>::STEP <= size; i += Product<T>::STEP) Product<T>::add(acc, a + i, b + i);
    float total = sum(acc);
    for (; i < size; i++) total += to_float(a[i]) * to_float(b[i]);
    return total;
}
