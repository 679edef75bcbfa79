// Gated feed-forward layers, of one expert or of several that are chosen row by row.
#pragma once

#include "attention.h"

// Where a feed-forward layer's weights are: gate and up [2 * inner, hidden], down [hidden, inner].
template <typename T>
struct Gated {
    const T *gate_up, *down;
    int64_t hidden, inner;
    static Gated of_expert(const T* expert, int64_t hidden, int64_t inner) {
        return {expert, expert + 2 * inner * hidden, hidden, inner};
    }
};

// silu(gate) * up, where `wide` is the gates and then the ups.
template <typename T>
void activate(const float* wide, int64_t inner, T* out) {
    int64_t i = 0;
    for (; i + LANES <= inner; i += LANES) store(out + i, silu(load(wide + i)) * load(wide + inner + i));
    for (; i < inner; i++) store(out + i, wide[i] / (1 + std::exp(-wide[i])) * wide[inner + i]);
}

template <typename T, typename Out>
void run_few(const T* const* rows, int64_t count, const Gated<T>& layer, Out* const* out) {
    int64_t inner = layer.inner;
    float *wide = scratch<float, 10>(FEW * 2 * inner), *wide_rows[FEW];
    T* narrow = scratch<T, 11>(FEW * inner);
    const T* narrow_rows[FEW];
    for (int64_t row = 0; row < count; row++) {
        wide_rows[row] = wide + row * 2 * inner;
        narrow_rows[row] = narrow + row * inner;
    }
    multiply_few<T, float>(rows, count, layer.hidden, layer.gate_up, 2 * inner, wide_rows);
    for (int64_t row = 0; row < count; row++) activate(wide_rows[row], inner, narrow + row * inner);
    multiply_few<T, Out>(narrow_rows, count, inner, layer.down, layer.hidden, out);
}

// The middle of the layer stays as the rows are, beside each other: nothing is turned between the two products.
template <typename T, typename Out>
void run_beside(const T* const* rows, int64_t count, const Gated<T>& layer, Out* const* out) {
    constexpr int STEP = Beside<T>::STEP;
    int64_t hidden = layer.hidden, inner = layer.inner, groups = groups_of(count);
    int64_t steps = hidden / STEP, narrow_steps = inner / STEP;
    vf* packed = scratch<vf, 12>(groups * steps);
    vf* narrow = scratch<vf, 13>(groups * narrow_steps);
    for (int64_t row = 0; row < count; row += LANES)
        pack(rows + row, count - row < LANES ? count - row : LANES, steps, packed + row / LANES * steps);
    for (int64_t first = 0; first < inner; first += BLOCK)
        for (int64_t group = 0; group < groups; group++) {
            vf gates[BLOCK], ups[BLOCK];
            const vf* from = packed + group * steps;
            meet<T, BLOCK>(from, steps, layer.gate_up + first * hidden, hidden, gates, group == 0);
            meet<T, BLOCK>(from, steps, layer.gate_up + (inner + first) * hidden, hidden, ups, group == 0);
            for (int i = 0; i < BLOCK; i++) gates[i] = silu(gates[i]) * ups[i];
            vf* to = narrow + group * narrow_steps + first / STEP;
            for (int i = 0; i < BLOCK / STEP; i++) to[i] = Beside<T>::join(gates + i * STEP);
        }
    multiply_beside<T, Out>(narrow, count, narrow_steps, layer.down, inner, hidden, out, 0);
}

template <typename T, typename Out>
void run_gated(const T* const* rows, int64_t count, const Gated<T>& layer, Out* const* out) {
    if (fits_beside<T>(count, layer.hidden) && layer.inner % BLOCK == 0) return run_beside<T, Out>(rows, count, layer, out);
    for (int64_t row = 0; row < count; row += FEW)
        run_few<T, Out>(rows + row, count - row < FEW ? count - row : FEW, layer, out + row);
}

// Rows of one expert, a part of a job.
struct Task {
    int64_t expert, first, count;
};
constexpr int64_t MOST_ROWS_OF_A_TASK = 64;

// Tasks of `rows`, which are sorted by expert: counts[e] of expert e.
inline std::vector<Task> divide(const std::vector<int64_t>& counts) {
    std::vector<Task> tasks;
    int64_t first = 0;
    for (int64_t expert = 0; expert < (int64_t)counts.size(); expert++)
        for (int64_t left = counts[expert]; left > 0;) {
            int64_t count = left < 2 * MOST_ROWS_OF_A_TASK ? left : MOST_ROWS_OF_A_TASK;
            tasks.push_back({expert, first, count});
            first += count, left -= count;
        }
    return tasks;
}

template <typename T, typename Out>
void run_tasks(const std::vector<Task>& tasks, const int64_t* experts, int64_t hidden, int64_t inner,
               const T* const* rows, Out* const* out) {
    int64_t cost = 0;
    // A row alone takes as long as the weights need to come.
    for (const Task& task : tasks) cost += 3 * hidden * inner * (task.count < 2 ? 2 : task.count);
    share_work(tasks.size(), cost, [&](int64_t part) {
        const Task& task = tasks[part];
        Gated<T> layer = Gated<T>::of_expert((const T*)experts[task.expert], hidden, inner);
        run_gated<T, Out>(rows + task.first, task.count, layer, out + task.first);
    });
}

template <typename T>
void feed_forward(const T* x, int64_t rows, const Gated<T>& layer, T* out) {
    constexpr int64_t PART = 64;
    std::vector<const T*> from;
    std::vector<T*> to;
    for (int64_t row = 0; row < rows; row++) from.push_back(x + row * layer.hidden), to.push_back(out + row * layer.hidden);
    share_work((rows + PART - 1) / PART, 3 * rows * layer.hidden * layer.inner, [&](int64_t part) {
        int64_t first = part * PART, count = rows - first < PART ? rows - first : PART;
        run_gated<T, T>(&from[first], count, layer, &to[first]);
    });
}

// entries: (expert, first row, first result, rows) by four, the same expert's next to each other: its weights are read
// once for all of them, whoever asks.
template <typename T>
void run_groups(int64_t hidden, int64_t inner, const int64_t* experts, int64_t num_experts, const int64_t* entries,
                int64_t num_entries) {
    std::vector<const T*> from;
    std::vector<T*> to;
    std::vector<int64_t> counts(num_experts);
    for (const int64_t* entry = entries; entry < entries + 4 * num_entries; entry += 4) {
        counts[entry[0]] += entry[3];
        for (int64_t i = 0; i < entry[3]; i++) {
            from.push_back((const T*)entry[1] + i * hidden);
            to.push_back((T*)entry[2] + i * hidden);
        }
    }
    run_tasks<T, T>(divide(counts), experts, hidden, inner, from.data(), to.data());
}

// out = each token's `k` results of size `hidden`, mixed by weight in the order of the choices.
template <typename T, typename From>
void mix_row(const From* const* results, const T* weights, int64_t k, int64_t hidden, T* out) {
    int64_t i = 0;
    for (; i + LANES <= hidden; i += LANES) {
        vf total = {};
        for (int64_t j = 0; j < k; j++) total += to_float(weights[j]) * load(results[j] + i);
        store(out + i, total);
    }
    for (; i < hidden; i++) {
        float total = 0;
        for (int64_t j = 0; j < k; j++) total += to_float(weights[j]) * to_float(results[j][i]);
        store(out + i, total);
    }
}

// Each row through its chosen experts.
template <typename T>
void mix_experts(const T* x, int64_t tokens, int64_t hidden, int64_t inner, const int64_t* experts, int64_t num_experts,
                 const int64_t* chosen, const T* weights, int64_t k, T* out) {
    int64_t pairs = tokens * k;
    float* results = scratch<float, 20>(pairs * hidden);
    const T** from = scratch<const T*, 21>(pairs);
    float** to = scratch<float*, 22>(pairs);
    std::vector<int64_t> counts(num_experts), next(num_experts);
    for (int64_t pair = 0; pair < pairs; pair++) counts[chosen[pair]]++;
    for (int64_t expert = 1; expert < num_experts; expert++) next[expert] = next[expert - 1] + counts[expert - 1];
    for (int64_t pair = 0; pair < pairs; pair++) {
        int64_t place = next[chosen[pair]]++;
        from[place] = x + pair / k * hidden;
        to[place] = results + pair * hidden;
    }
    run_tasks<T, float>(divide(counts), experts, hidden, inner, from, to);
    constexpr int64_t PART = 64;
    share_work((tokens + PART - 1) / PART, pairs * hidden * 4, [=](int64_t part) {
        std::vector<const float*> places(k);
        for (int64_t token = part * PART; token < tokens && token < (part + 1) * PART; token++) {
            for (int64_t j = 0; j < k; j++) places[j] = results + (token * k + j) * hidden;
            mix_row(places.data(), weights + token * k, k, hidden, out + token * hidden);
        }
    });
}

// Softmax over the experts' scores; the k largest, divided by their sum where `is_normed`.
template <typename T>
void route(const T* scores, int64_t rows, int64_t experts, int64_t k, int64_t is_normed, int64_t* chosen, T* weights) {
    std::vector<float> shares(experts), found(k);
    for (int64_t row = 0; row < rows; row++, scores += experts, chosen += k, weights += k) {
        for (int64_t i = 0; i < experts; i++) shares[i] = to_float(scores[i]);
        softmax(shares.data(), experts);
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
