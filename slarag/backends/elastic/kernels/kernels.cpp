// What a step computes, where the calls of a tensor library cost more than the work.
//
// Element type T is float or bfloat16; sums are float. Matrices are row-major, weights [outputs, inputs] as in a
// checkpoint: they are read where they lie, nothing is repacked. Compiled for the machine it runs on (see build.py).

#include "attention.h"
#include "copy.h"
#include "experts.h"

// Whether sixteen lanes are one register here; where they are not, a tensor library is faster with many rows.
extern "C" int64_t is_wide() {
#if defined(__AVX512BF16__)
    return 1;
#else
    return 0;
#endif
}

extern "C" void set_threads(int64_t threads) { Threads::all().want(threads); }

extern "C" void copy(char* to, const char* from, int64_t bytes) { copy_past_caches(to, from, bytes); }

#define EXPORTS(NAME, T)                                                                                               \
    extern "C" void linear_##NAME(const T* x, int64_t rows, int64_t inputs, const T* w, const T* bias,                 \
                                  int64_t outputs, T* out) {                                                           \
        linear(x, rows, inputs, w, bias, outputs, out);                                                                \
    }                                                                                                                  \
    extern "C" void feed_forward_##NAME(const T* x, int64_t rows, const T* gate_up, const T* down, int64_t hidden,     \
                                        int64_t inner, T* out) {                                                       \
        feed_forward(x, rows, Gated<T>{gate_up, down, hidden, inner}, out);                                            \
    }                                                                                                                  \
    extern "C" void run_groups_##NAME(int64_t hidden, int64_t inner, const int64_t* experts, int64_t num_experts,      \
                                      const int64_t* entries, int64_t num_entries) {                                   \
        run_groups<T>(hidden, inner, experts, num_experts, entries, num_entries);                                      \
    }                                                                                                                  \
    extern "C" void mix_experts_##NAME(const T* x, int64_t tokens, int64_t hidden, int64_t inner,                      \
                                       const int64_t* experts, int64_t num_experts, const int64_t* chosen,             \
                                       const T* weights, int64_t k, T* out) {                                          \
        mix_experts(x, tokens, hidden, inner, experts, num_experts, chosen, weights, k, out);                          \
    }                                                                                                                  \
    extern "C" void add_norm_##NAME(T* x, const T* delta, int64_t rows, int64_t size, const T* weight, float epsilon,  \
                                    T* normed) {                                                                       \
        add_norm(x, delta, rows, size, weight, epsilon, normed);                                                       \
    }                                                                                                                  \
    extern "C" void prepare_##NAME(T* packed, int64_t rows, int64_t heads, T* data, const int64_t* cache,              \
                                   const T* q_norm, const T* k_norm, float epsilon, const float* cosines,              \
                                   const float* sines, const int64_t* blocks, const int64_t* offsets) {                \
        Cache<T> layer{data, cache[0], cache[1], cache[2], cache[3], cache[4]};                                        \
        prepare(packed, rows, heads, layer, q_norm, k_norm, epsilon, cosines, sines, blocks, offsets);                 \
    }                                                                                                                  \
    extern "C" void attend_##NAME(const T* queries, int64_t stride, const int64_t* places, int64_t rows,               \
                                  int64_t heads, T* data, const int64_t* cache, const int64_t* tables, int64_t width,  \
                                  const int64_t* lengths, float scale, T* out) {                                       \
        Cache<T> layer{data, cache[0], cache[1], cache[2], cache[3], cache[4]};                                        \
        attend(queries, stride, places, rows, heads, layer, tables, width, lengths, scale, out);                       \
    }                                                                                                                  \
    extern "C" void attend_spans_##NAME(const T* queries, int64_t stride, const Span* spans, int64_t num_spans,        \
                                        int64_t heads, T* data, const int64_t* cache, float scale, T* out) {           \
        Cache<T> layer{data, cache[0], cache[1], cache[2], cache[3], cache[4]};                                        \
        attend_spans(queries, stride, spans, num_spans, heads, layer, scale, out);                                     \
    }                                                                                                                  \
    extern "C" void route_##NAME(const T* scores, int64_t rows, int64_t experts, int64_t k, int64_t is_normed,         \
                                 int64_t* chosen, T* weights) {                                                        \
        route(scores, rows, experts, k, is_normed, chosen, weights);                                                   \
    }

EXPORTS(float32, float)
EXPORTS(bfloat16, bf16)
