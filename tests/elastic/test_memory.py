"""Arenas, pages, address spaces and the manager's process, on real mappings."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
from collections.abc import Iterator
from ctypes import addressof, create_string_buffer
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from slarag.backends.elastic.errors import CheckpointError, DeviceMemoryError, MemoryServiceError
from slarag.backends.elastic.kernels.copying import copy
from slarag.backends.elastic.memory.arena import Arena
from slarag.backends.elastic.memory.client import MemoryProcess
from slarag.backends.elastic.memory.extents import Extents
from slarag.backends.elastic.memory.manager import MemoryManager, Placed
from slarag.backends.elastic.memory.pages import PageAllocator, pages_of, runs_of
from slarag.backends.elastic.memory.space import AddressSpace
from slarag.backends.elastic.models.checkpoint import Checkpoint
from slarag.backends.elastic.models.experts import read_tensor
from slarag.backends.elastic.models.layout import expert_tensor

from .conftest import TINY

PAGE = mmap.PAGESIZE


@settings(deadline=None)
@given(st.lists(st.integers(0, 12), max_size=12), st.data())
def test_pages_are_handed_out_once_and_come_back(counts: list[int], data: st.DataObject) -> None:
    allocator = PageAllocator()
    held: list[tuple[int, ...]] = []
    for count in counts:
        held.append(allocator.allocate(count))
        taken = [page for pages in held for page in pages]
        assert len(taken) == len(set(taken)) == allocator.used <= allocator.end
        if data.draw(st.booleans()):
            allocator.release(held.pop(data.draw(st.integers(0, len(held) - 1))))
    most = allocator.end
    for pages in held:
        allocator.release(pages)
    assert sorted(allocator.allocate(most)) == list(range(most))


@settings(deadline=None)
@given(st.lists(st.integers(0, 30), unique=True))
def test_runs_round_trip(pages: list[int]) -> None:
    assert pages_of(runs_of(pages)) == tuple(pages)


@pytest.fixture
def extents() -> Iterator[Extents]:
    made = Extents(PAGE)
    yield made
    made.close()


def trim(extents: Extents) -> None:
    unused = extents.withdraw(0.0)
    for extent in unused:
        extent.erase()
    extents.reuse(unused)


def test_beyond_capacity_fails_and_takes_nothing(extents: Extents) -> None:
    arena = Arena("test", 10 * PAGE, extents)
    arena.allocate("a", 7 * PAGE)
    with pytest.raises(DeviceMemoryError, match="4 pages asked for, 3 of 10 are free"):
        arena.allocate("b", 3 * PAGE + 1)
    assert arena.used_bytes == 7 * PAGE
    arena.allocate("b", 3 * PAGE)
    arena.release("a")
    assert arena.used_bytes == 3 * PAGE


def test_released_memory_is_spare_for_its_size_and_goes_back_to_the_system(extents: Extents) -> None:
    arena = Arena("test", 100 * PAGE, extents)
    region = arena.allocate("a", 64 * PAGE)
    assert extents.resident_bytes == arena.held["a"].resident_bytes == 0
    arena.held["a"].write(memoryview(bytes(64 * PAGE)))
    assert extents.resident_bytes == arena.held["a"].resident_bytes == 64 * PAGE
    arena.release("a")
    assert set(arena.allocate("other", 3 * PAGE).pages).isdisjoint(region.pages)
    assert arena.allocate("same", 64 * PAGE) == region
    arena.release("same")
    assert extents.resident_bytes == 64 * PAGE
    extents.reuse(extents.withdraw(3600.0))
    assert extents.resident_bytes == 64 * PAGE
    trim(extents)
    assert extents.resident_bytes == 0
    assert arena.allocate("anew", 62 * PAGE).pages == region.pages[:62]


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 2), st.booleans()), max_size=40))
def test_nothing_that_is_used_is_spare_and_everything_comes_back(steps: list[tuple[str, int, bool]]) -> None:
    extents = Extents(PAGE)
    arenas = [Arena(str(number), 8 * PAGE, extents) for number in range(3)]
    for name, number, promised in steps:
        arena, after = arenas[number], arenas[(number + 1) % 3]
        if name in arena.held:
            arena.release(name)
        elif promised and name in after.held and len(after.held[name].users) == 1:
            arena.allocate(name, 2 * PAGE, after.held[name])
        else:
            arena.allocate(name, 2 * PAGE)
        owned = [e.pages for each in arenas for e in each.held.values() if each.owns(e)]
        pages = [page for found in owned for page in found]
        assert len(pages) == len(set(pages))
        assert all(each.used_bytes == 2 * PAGE * len(each.held) for each in arenas)
    for arena in arenas:
        arena.close()
    spare = extents.withdraw(0.0)
    assert len({page for extent in spare for page in extent.pages}) == 2 * len(spare)
    extents.close()


def test_what_is_promised_is_there_once_it_is_released() -> None:
    manager = MemoryManager(16 * PAGE, PAGE)
    for device in (0, 1):
        manager.add_device(device)
    made = manager.allocate(0, {"a": 2 * PAGE, "b": 2 * PAGE, "small": PAGE})
    made |= manager.allocate(1, {"b": 2 * PAGE}, {"b": (0, "a")})
    assert made["a"].pages == made["b"].pages
    os.pwrite(manager.file(0), b"first", made["a"].pages[0] * PAGE)
    os.pwrite(manager.file(0), b"second", manager.regions(0)["b"].pages[0] * PAGE)
    assert manager.usage()[1]["resident"] == 0
    with pytest.raises(MemoryServiceError, match="not free yet"):
        manager.copy(0, 1, ["b"])
    for name in ("small", "a"):
        with pytest.raises(ValueError, match="cannot come after"):
            manager.allocate(1, {"c": 2 * PAGE}, {"c": (0, name)})
    manager.release(0, ["a"])
    assert manager.copy(0, 1, ["b"]) == 2 * PAGE
    assert os.pread(manager.file(1), 6, made["b"].pages[0] * PAGE) == b"second"
    assert manager.usage()[1]["resident"] == 2 * PAGE
    manager.close()


def test_scattered_pages_are_contiguous_to_a_tensor_and_swap_under_it(extents: Extents) -> None:
    arena = Arena("test", 8 * PAGE, extents)
    for index in range(4):
        arena.allocate(str(index), 2 * PAGE)
        values = torch.full((2 * PAGE // 4,), float(index))
        arena.held[str(index)].write(memoryview(values.view(torch.uint8).numpy()))
    space = AddressSpace(4 * PAGE, PAGE)
    space.map(0, extents.file, [(6, 2)])
    space.map(2 * PAGE, extents.file, [(3, 1), (0, 1)])
    tensor = torch.frombuffer(space.view(0, 4 * PAGE), dtype=torch.float32)
    where = tensor.data_ptr()
    assert tensor.view(4, -1).mean(1).tolist() == [3.0, 3.0, 1.0, 0.0]
    space.map(0, extents.file, [(4, 2)])
    assert tensor.view(4, -1).mean(1).tolist() == [2.0, 2.0, 1.0, 0.0]
    assert tensor.data_ptr() == where
    del tensor
    space.close()


def test_an_old_mapping_outlives_a_new_one_elsewhere(extents: Extents) -> None:
    arena = Arena("test", 4 * PAGE, extents)
    arena.allocate("a", PAGE)
    arena.held["a"].write(memoryview(b"a" * PAGE))
    old, new = AddressSpace(PAGE, PAGE), AddressSpace(PAGE, PAGE)
    old.map(0, extents.file, [(0, 1)])
    new.map(0, extents.file, [(0, 1)])
    new.unmap(0, PAGE)
    assert bytes(old.view(0, 3)) == b"aaa"
    with pytest.raises(ValueError, match="space of"):
        old.view(0, PAGE + 1)
    for space in (old, new, new):
        space.close()


def test_a_region_larger_than_the_checkpoint_part_is_copied_whole_between_devices() -> None:
    manager = MemoryManager(16 * PAGE, PAGE)
    for device in (0, 1):
        manager.add_device(device)
    manager.allocate(1, {"other": PAGE})
    for device in (0, 1):
        manager.allocate(device, {"kv": 4 * PAGE})
    assert manager.copy(0, 1, ["kv"]) == 4 * PAGE
    assert manager.copy_blocks(0, 1, "kv", [(0, 3), (2, 1)], PAGE) == 2 * PAGE
    assert manager.traffic.copied == 6 * PAGE
    manager.close()


@pytest.fixture
def memory() -> Iterator[MemoryProcess]:
    process = MemoryProcess.start(4_000_000, PAGE)
    yield process
    process.close()


def expert_places(device: int, layer: int, expert: int) -> tuple[str, int, list[Placed]]:
    spec = expert_tensor(TINY, layer, expert)
    placed = [Placed(p, device, spec.name, p.start * 4, p.elements * 4) for p in spec.parts]
    return spec.name, spec.elements * 4, placed


def test_the_process_reads_once_copies_and_hands_out_memory(memory: MemoryProcess, tiny_folder: Path) -> None:
    client = memory.client
    name, size, placed = expert_places(0, 1, 5)
    for device in (0, 1):
        client.add_device(device, {"filler": 3 * PAGE, name: size})
    client.load(str(tiny_folder), placed, "float32")
    assert client.copy(0, 1, [name]) == size
    checkpoint = Checkpoint.open(tiny_folder)
    expected = read_tensor(checkpoint, expert_tensor(TINY, 1, 5), "float32")
    checkpoint.close()
    with client.attached(1) as attachment:
        region = attachment.regions[name]
        space = AddressSpace(len(region.pages) * PAGE, PAGE)
        space.map(0, attachment.file, region.runs)
    assert torch.equal(torch.frombuffer(space.view(0, size), dtype=torch.float32), expected)
    space.close()
    traffic = client.usage()["traffic"]
    assert set(traffic["tensors_read"].values()) == {1}
    assert (traffic["read_from_disk"], traffic["copied"]) == (size, size)


def test_its_refusals_arrive_typed_and_change_nothing(memory: MemoryProcess, tmp_path: Path) -> None:
    client = memory.client
    with pytest.raises(DeviceMemoryError, match="are free"):
        client.add_device(0, {"small": PAGE, "large": 5_000_000})
    client.add_device(0, {"small": PAGE})
    with pytest.raises(DeviceMemoryError):
        client.allocate(0, {"b": PAGE, "c": 5_000_000})
    assert client.usage()["devices"]["0"]["used"] == PAGE
    with pytest.raises(MemoryServiceError, match="no device 7"):
        client.attach(7)
    with pytest.raises(MemoryServiceError, match="exists"):
        client.allocate(0, {"small": 1})
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        client.load(str(tmp_path), [], "float32")
    with client.connect() as second:
        from slarag.backends.elastic.memory.client import MemoryClient

        assert MemoryClient(second).usage()["devices"]["0"]["used"] == PAGE


def test_it_outlives_who_attached_and_ends_with_its_starter(memory: MemoryProcess) -> None:
    client = memory.client
    client.add_device(0, {"a": PAGE})
    with client.connect():
        pass
    with client.attached(0) as attachment:
        os.pwrite(attachment.file, b"kept", 0)
    with client.attached(0) as attachment:
        assert os.pread(attachment.file, 4, 0) == b"kept"
    memory.close()
    assert memory.process.returncode == 0
    with pytest.raises(MemoryServiceError, match="gone"):
        client.usage()


def test_the_process_does_without_heavy_libraries() -> None:
    code = (
        "import sys, slarag.backends.elastic.memory.service\n"
        "print([m for m in ('torch', 'langgraph', 'langchain', 'langchain_core', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@given(st.integers(0, 70_000), st.integers(0, 20), st.integers(0, 20))
def test_what_is_copied_past_the_caches_is_all_of_it_and_no_more(count: int, start: int, skipped: int) -> None:
    source, target = create_string_buffer(os.urandom(count + skipped)), create_string_buffer(count + start + 1)
    copy(addressof(target) + start, addressof(source) + skipped, count)
    assert target.raw[start : start + count] == source.raw[skipped : skipped + count]
    assert not any(target.raw[:start] + target.raw[start + count :])
