// A call's work, divided among threads that wait for it.
#pragma once

#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <thread>

// Room of a thread for intermediate results; it grows to what was ever asked for and is kept. KEY: one room each.
template <typename T, int KEY>
inline T* scratch(int64_t elements) {
    struct Room {
        void* data = nullptr;
        int64_t size = 0;
        ~Room() { ::operator delete(data, std::align_val_t(64)); }
    };
    static thread_local Room room;
    int64_t size = elements * sizeof(T);
    if (size > room.size) {
        ::operator delete(room.data, std::align_val_t(64));
        room.size = size + size / 4;
        room.data = ::operator new(room.size, std::align_val_t(64));
    }
    return (T*)room.data;
}

inline void relax() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

// Helpers take the numbers of a job's parts from the same counter as the caller, who does all of them where no helper
// comes in time. On a busy machine a helper may be held up inside a part; the caller, having waited for one, then works
// alone for a while, so that waiting takes at most a small share of its time.
class Threads {
   public:
    static Threads& all() {
        // Never destroyed: helpers use it until the process ends.
        static Threads* threads = new Threads;
        return *threads;
    }

    // Helpers start here, in the process that calls it, and stay.
    void want(int64_t threads) {
        std::lock_guard<std::mutex> guard(_calling);
        for (; _helpers + 1 < threads; _helpers++) std::thread([this] { help(); }).detach();
        _wanted = threads;
    }

    // work(0) ... work(parts - 1), in any order, on several threads. A second caller at the same time does its own alone.
    template <typename Work>
    void run(int64_t parts, const Work& work) {
        if (parts > 1 && _wanted > 1 && Clock::now() >= _alone_until && _calling.try_lock()) {
            share(parts, [](const void* what, int64_t part) { (*(const Work*)what)(part); }, &work);
            _calling.unlock();
            return;
        }
        for (int64_t part = 0; part < parts; part++) work(part);
    }

   private:
    typedef void (*Part)(const void*, int64_t);
    typedef std::chrono::steady_clock Clock;
    // Between two jobs of a step pass microseconds; waking a helper that sleeps takes longer.
    static constexpr std::chrono::microseconds AWAKE{60};
    // A helper that runs is not waited for longer than this, nor longer than the caller was at work itself.
    static constexpr std::chrono::microseconds HELD_UP{1000};

    void share(int64_t parts, Part part, const void* what) {
        _part = part, _what = what, _parts = parts;
        _next = 0;
        _open = true;
        _turn++;
        if (_asleep.load()) syscall(SYS_futex, (uint32_t*)&_turn, FUTEX_WAKE_PRIVATE, 1 << 30, nullptr, nullptr, 0);
        auto began = Clock::now();
        take();
        _open = false;
        // Whoever came in before that is at work on a part; nobody comes in after it.
        if (_inside.load()) wait(began);
    }

    void wait(Clock::time_point began) {
        auto started = Clock::now();
        for (int turns = 0; _inside.load(); turns++) turns < 2000 ? relax() : (void)sched_yield();
        auto ended = Clock::now();
        if (ended - started > HELD_UP && ended - started > started - began) _alone_until = ended + 30 * (ended - started);
    }

    void take() {
        for (int64_t part = _next++; part < _parts; part = _next++) _part(_what, part);
    }

    void help() {
        for (uint32_t seen = 0;;) {
            seen = await(seen);
            _inside++;
            if (_open) take();
            _inside--;
        }
    }

    uint32_t await(uint32_t seen) {
        auto until = Clock::now() + AWAKE;
        while (_turn.load() == seen) {
            for (int i = 0; i < 50 && _turn.load() == seen; i++) relax();
            if (_turn.load() == seen && Clock::now() > until) {
                _asleep++;
                syscall(SYS_futex, (uint32_t*)&_turn, FUTEX_WAIT_PRIVATE, seen, nullptr, nullptr, 0);
                _asleep--;
            }
        }
        return _turn.load();
    }

    std::mutex _calling;
    int64_t _helpers = 0, _wanted = 1;
    Part _part = nullptr;
    const void* _what = nullptr;
    int64_t _parts = 0;
    std::atomic<int64_t> _next{0};
    std::atomic<bool> _open{false};
    std::atomic<int> _inside{0}, _asleep{0};
    std::atomic<uint32_t> _turn{0};
    Clock::time_point _alone_until{};
};

// What takes less than about thirty microseconds is not worth sharing. cost: of all parts, in multiplications.
constexpr int64_t WORTH_SHARING = 3000000;

template <typename Work>
void share_work(int64_t parts, int64_t cost, const Work& work) {
    if (cost >= WORTH_SHARING) return Threads::all().run(parts, work);
    for (int64_t part = 0; part < parts; part++) work(part);
}
