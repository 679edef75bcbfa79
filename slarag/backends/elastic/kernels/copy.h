// Copies of memory that this process does not read soon.
#pragma once

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include <cstdint>
#include <cstring>

// Past the caches: a line is not read before it is overwritten, and what others have in a shared cache stays there. A C
// library does that only from a share of that cache on, which on a large machine no copy ever reaches. Four pages at
// once, because the processor fetches ahead within each.
inline void copy_past_caches(char* to, const char* from, int64_t bytes) {
    int64_t done = 0;
#if defined(__SSE2__)
    constexpr int64_t PAGE = 4096, PAGES = 4, LINE = 64;
    if ((uintptr_t)to % sizeof(__m128i) == 0) {
        for (; done + PAGES * PAGE <= bytes; done += PAGES * PAGE)
            for (int64_t line = 0; line < PAGE; line += LINE)
                for (int64_t page = 0; page < PAGES; page++)
                    for (int64_t part = 0; part < LINE; part += sizeof(__m128i)) {
                        int64_t at = done + page * PAGE + line + part;
                        _mm_stream_si128((__m128i*)(to + at), _mm_loadu_si128((const __m128i*)(from + at)));
                    }
        _mm_sfence();
    }
#endif
    memcpy(to + done, from + done, bytes - done);
}
