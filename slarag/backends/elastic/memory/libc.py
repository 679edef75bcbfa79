"""The system calls that Python does not offer: mapping at a fixed address and punching holes into files."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys
from ctypes import c_int, c_long, c_size_t, c_void_p

PROT_NONE, PROT_READ_WRITE = 0, 1 | 2
MAP_SHARED, MAP_PRIVATE, MAP_FIXED, MAP_ANONYMOUS, MAP_NORESERVE = 0x01, 0x02, 0x10, 0x20, 0x4000
_FALLOC_KEEP_SIZE, _FALLOC_PUNCH_HOLE = 0x01, 0x02
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_FAILED = c_void_p(-1).value
# No C library of today has a name for these: sched_setattr and sched_getattr.
_SCHEDULING_CALLS = {"x86_64": (314, 315), "aarch64": (274, 275)}
_SCHEDULING = struct.Struct("<IIQiIQQQ")
_RUN_TIME = 5
_SHORTEST_TURN_NS = 100_000

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = c_void_p
_libc.mmap.argtypes = [c_void_p, c_size_t, c_int, c_int, c_int, c_long]
_libc.munmap.argtypes = [c_void_p, c_size_t]
_libc.fallocate.argtypes = [c_int, c_int, c_long, c_long]


def _fail(call: str) -> OSError:
    code = ctypes.get_errno()
    return OSError(code, f"{call}: {os.strerror(code)}")


def reserve(length: int) -> int:
    """Reserve `length` bytes of address space without memory behind them; returns the address."""
    address = _libc.mmap(None, length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
    if address == _FAILED:
        raise _fail("mmap")
    return int(address)


def map_file(address: int, length: int, file: int, offset: int) -> None:
    """Put `length` bytes of `file` from `offset` at `address`, in place of what was there."""
    found = _libc.mmap(address, length, PROT_READ_WRITE, MAP_SHARED | MAP_FIXED, file, offset)
    if found != address:
        raise _fail("mmap")


def map_private(address: int, length: int) -> None:
    """Put `length` bytes of memory of this process's own at `address`, in place of what was there."""
    flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED
    if _libc.mmap(address, length, PROT_READ_WRITE, flags, -1, 0) != address:
        raise _fail("mmap")


def map_nothing(address: int, length: int) -> None:
    """Turn `length` bytes at `address` back into reserved space."""
    flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED
    if _libc.mmap(address, length, PROT_NONE, flags, -1, 0) != address:
        raise _fail("mmap")


def unmap(address: int, length: int) -> None:
    """Give address space back."""
    if _libc.munmap(address, length) != 0:
        raise _fail("munmap")


def punch_hole(file: int, offset: int, length: int) -> None:
    """Give the memory behind a part of a memfd back to the system; it reads as zeros afterwards."""
    if _libc.fallocate(file, _FALLOC_PUNCH_HOLE | _FALLOC_KEEP_SIZE, offset, length) != 0:
        raise _fail("fallocate")


def data_bytes(file: int, offset: int, length: int) -> int:
    """How much of a part of a memfd has memory behind it."""
    found, end = 0, offset + length
    while (start := _next_data(file, offset)) < end:
        offset = os.lseek(file, start, os.SEEK_HOLE)
        found += min(offset, end) - start
    return found


def _next_data(file: int, offset: int) -> int:
    try:
        return os.lseek(file, offset, os.SEEK_DATA)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        return sys.maxsize


def die_with_parent(signal_number: int) -> None:
    """Ask the kernel to send this process `signal_number` when its parent ends."""
    if _libc.prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0) != 0:
        raise _fail("prctl")


def adopt_orphans(is_on: bool) -> None:
    """Make this process the parent of what its children leave behind, or no longer."""
    if _libc.prctl(_PR_SET_CHILD_SUBREAPER, int(is_on), 0, 0, 0) != 0:
        raise _fail("prctl")


def take_short_turns(is_on: bool) -> None:
    """Let this thread, and what it starts later, run soon after it wakes up, for as short a time; or no longer.

    Its share of a busy processor stays the same. Where the kernel (before Linux 6.12) knows no such wish, nothing
    happens.
    """
    if (calls := _SCHEDULING_CALLS.get(platform.machine())) is None:
        return
    now = ctypes.create_string_buffer(_SCHEDULING.size)
    if _libc.syscall(calls[1], 0, now, len(now), 0) == 0:
        fields = list(_SCHEDULING.unpack(now.raw))
        fields[_RUN_TIME] = _SHORTEST_TURN_NS if is_on else 0
        _libc.syscall(calls[0], 0, _SCHEDULING.pack(*fields), 0)
