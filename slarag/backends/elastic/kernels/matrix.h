// Matrix products of few or many rows with weights [outputs, inputs], which are read where they lie.
//
// Up to FEW rows are multiplied one by one, more of them sixteen beside each other. Weights come from far away; what is
// asked for ahead of its use comes in time.
#pragma once

#include <vector>

#include "threads.h"
#include "vectors.h"

constexpr int64_t FEW = 8;
constexpr int BLOCK = 8;
constexpr int64_t AHEAD_BYTES = 32768;

// Into the second cache: the first asks for it in time, and has no room for so much (measured: 19 GB/s instead of 11).
inline void ask_for(const char* weights) { __builtin_prefetch(weights, 0, 2); }

// ROWS rows times LANES / ROWS weights at once: lane row * PER + output of the result.
template <typename T, int ROWS>
inline vf products(const T* const* rows, const T* weights, int64_t inputs, bool is_first) {
    constexpr int PER = LANES / ROWS, STEP = Product<T>::STEP;
    vf sums[LANES] = {};
    const char* ahead = (const char*)weights + AHEAD_BYTES;
    for (int64_t i = 0; i + STEP <= inputs; i += STEP, ahead += PER * 64) {
        if (is_first)
            for (int output = 0; output < PER; output++) ask_for(ahead + output * 64);
        for (int output = 0; output < PER; output++)
            for (int row = 0; row < ROWS; row++)
                Product<T>::add(sums[row * PER + output], rows[row] + i, weights + output * inputs + i);
    }
    vf result = sum_each(sums);
    for (int64_t i = inputs / STEP * STEP; i < inputs; i++)
        for (int lane = 0; lane < LANES; lane++)
            result[lane] += to_float(rows[lane / PER][i]) * to_float(weights[lane % PER * inputs + i]);
    return result;
}

template <typename T, typename Out, int ROWS>
void multiply_block(const T* const* rows, int64_t inputs, const T* weights, int64_t outputs, Out* const* out,
                    bool is_first) {
    constexpr int PER = LANES / ROWS;
    int64_t output = 0;
    for (; output + PER <= outputs; output += PER) {
        vf found = products<T, ROWS>(rows, weights + output * inputs, inputs, is_first);
        Out lanes[LANES];
        store(lanes, found);
        for (int row = 0; row < ROWS; row++) std::memcpy(out[row] + output, lanes + row * PER, PER * sizeof(Out));
    }
    for (; output < outputs; output++)
        for (int row = 0; row < ROWS; row++) store(out[row] + output, dot(rows[row], weights + output * inputs, inputs));
}

// out[r][o] = rows[r] . weights[o], row by row. Strips of the weights stay in the first cache for all rows.
template <typename T, typename Out>
void multiply_few(const T* const* rows, int64_t count, int64_t inputs, const T* weights, int64_t outputs,
                  Out* const* out) {
    constexpr int64_t STRIP = 16;
    Out* shifted[FEW];
    for (int64_t first = 0; first < outputs; first += STRIP) {
        int64_t size = outputs - first < STRIP ? outputs - first : STRIP, row = 0;
        for (int64_t i = 0; i < count; i++) shifted[i] = out[i] + first;
        const T* strip = weights + first * inputs;
        for (; row + 4 <= count; row += 4) multiply_block<T, Out, 4>(rows + row, inputs, strip, size, shifted + row, !row);
        for (; row + 2 <= count; row += 2) multiply_block<T, Out, 2>(rows + row, inputs, strip, size, shifted + row, !row);
        for (; row < count; row++) multiply_block<T, Out, 1>(rows + row, inputs, strip, size, shifted + row, !row);
    }
}

inline int64_t groups_of(int64_t rows) { return (rows + LANES - 1) / LANES; }

// Up to sixteen rows beside each other: `steps` vectors. Where rows lack, the first stands in.
template <typename T>
void pack(const T* const* rows, int64_t count, int64_t steps, vf* packed) {
    const T* from[LANES];
    for (int64_t lane = 0; lane < LANES; lane++) from[lane] = rows[lane < count ? lane : 0];
    for (int64_t step = 0; step < steps; step += LANES) {
        int64_t size = steps - step < LANES ? steps - step : LANES;
        vf square[LANES];
        for (int lane = 0; lane < LANES; lane++) {
            const T* part = from[lane] + step * Beside<T>::STEP;
            square[lane] = size == LANES ? Beside<T>::spread(part) : Beside<T>::spread_some(part, size);
        }
        transpose(square);
        std::memcpy(packed + step, square, size * sizeof(vf));
    }
}

// sums[i] = 16 rows beside each other . weights[i], for COUNT weights `stride` apart.
template <typename T, int COUNT>
inline void meet(const vf* packed, int64_t steps, const T* weights, int64_t stride, vf* sums, bool is_first) {
    vf found[COUNT] = {};
    const char* ahead = (const char*)weights + AHEAD_BYTES;
    for (int64_t step = 0; step < steps; step++) {
        vf rows = packed[step];
        if (is_first && step % 2) ask_for(ahead + step / 2 * 64);
#pragma GCC unroll 8
        for (int i = 0; i < COUNT; i++) Beside<T>::add(found[i], rows, weights + i * stride + step * Beside<T>::STEP);
    }
    for (int i = 0; i < COUNT; i++) sums[i] = found[i];
}
template <typename T>
inline void meet_some(const vf* packed, int64_t steps, const T* weights, int64_t stride, int64_t count, vf* sums,
                      bool is_first) {
    int64_t i = 0;
    for (; i + BLOCK <= count; i += BLOCK) meet<T, BLOCK>(packed, steps, weights + i * stride, stride, sums + i, is_first);
    for (; i < count; i++) meet<T, 1>(packed, steps, weights + i * stride, stride, sums + i, is_first);
}

// The same product, of rows beside each other: `steps` vectors for each sixteen of them.
template <typename T, typename Out>
void multiply_beside(const vf* packed, int64_t count, int64_t steps, const T* weights, int64_t stride, int64_t outputs,
                     Out* const* out, int64_t first_output) {
    for (int64_t first = 0; first < outputs; first += LANES) {
        int64_t size = outputs - first < LANES ? outputs - first : LANES;
        for (int64_t group = 0; group < groups_of(count); group++) {
            vf square[LANES] = {};
            meet_some(packed + group * steps, steps, weights + first * stride, stride, size, square, group == 0);
            transpose(square);
            for (int64_t lane = 0; lane < LANES && group * LANES + lane < count; lane++) {
                Out* to = out[group * LANES + lane] + first_output + first;
                size == LANES ? store(to, square[lane]) : store_some(to, square[lane], size);
            }
        }
    }
}

template <typename T>
inline bool fits_beside(int64_t count, int64_t inputs) {
    return count > FEW && inputs % Beside<T>::STEP == 0;
}

template <typename T>
void linear(const T* x, int64_t rows, int64_t inputs, const T* weights, const T* bias, int64_t outputs, T* out) {
    constexpr int64_t PART = 64;
    int64_t parts = (outputs + PART - 1) / PART, steps = inputs / Beside<T>::STEP;
    const T** from = scratch<const T*, 0>(rows);
    T** to = scratch<T*, 1>(rows);
    for (int64_t row = 0; row < rows; row++) from[row] = x + row * inputs, to[row] = out + row * outputs;
    bool is_beside = fits_beside<T>(rows, inputs);
    vf* packed = is_beside ? scratch<vf, 2>(groups_of(rows) * steps) : nullptr;
    if (is_beside)
        share_work(groups_of(rows), rows * inputs * 4, [=](int64_t group) {
            int64_t row = group * LANES;
            pack(from + row, rows - row < LANES ? rows - row : LANES, steps, packed + group * steps);
        });
    share_work(parts, rows * inputs * outputs, [=](int64_t part) {
        int64_t first = part * PART, size = outputs - first < PART ? outputs - first : PART;
        const T* strip = weights + first * inputs;
        if (is_beside) {
            multiply_beside<T, T>(packed, rows, steps, strip, inputs, size, to, first);
        } else {
            T* shifted[FEW];
            for (int64_t row = 0; row < rows; row += FEW) {
                int64_t count = rows - row < FEW ? rows - row : FEW;
                for (int64_t i = 0; i < count; i++) shifted[i] = to[row + i] + first;
                multiply_few<T, T>(from + row, count, inputs, strip, size, shifted);
            }
        }
        if (bias != nullptr)
            for (int64_t row = 0; row < rows; row++)
                for (int64_t i = first; i < first + size; i++)
                    store(to[row] + i, to_float(to[row][i]) + to_float(bias[i]));
    });
}
