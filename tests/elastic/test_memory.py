"""Arenas, pages, address spaces and the manager's process, on real mappings."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from slarag.backends.elastic.errors import CheckpointError, DeviceMemoryError, MemoryServiceError
from slarag.backends.elastic.memory.arena import Arena
from slarag.backends.elastic.memory.client import MemoryProcess
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
    allocator = PageAllocator(40)
    held: list[tuple[int, ...]] = []
    for count in counts:
        try:
            held.append(allocator.allocate(count))
        except DeviceMemoryError:
            assert count > allocator.free
        if held and data.draw(st.booleans()):
            allocator.release(held.pop(data.draw(st.integers(0, len(held) - 1))))
        taken = [page for pages in held for page in pages]
        assert len(taken) == len(set(taken)) == allocator.used == 40 - allocator.free


@settings(deadline=None)
@given(st.lists(st.integers(0, 30), unique=True))
def test_runs_round_trip(pages: list[int]) -> None:
    assert pages_of(runs_of(pages)) == tuple(pages)


def test_beyond_capacity_fails_and_takes_nothing() -> None:
    arena = Arena("test", 10 * PAGE, PAGE)
    arena.allocate("a", 7 * PAGE)
    with pytest.raises(DeviceMemoryError, match="4 pages asked for, 3 of 10 are free"):
        arena.allocate("b", 3 * PAGE + 1)
    assert arena.used_bytes == 7 * PAGE
    arena.allocate("b", 3 * PAGE)
    arena.close()


def test_released_memory_goes_back_to_the_system() -> None:
    arena = Arena("test", 64 * PAGE, PAGE)
    region = arena.allocate("a", 64 * PAGE)
    assert arena.resident_bytes == 0
    arena.write(region, memoryview(bytes(64 * PAGE)))
    assert arena.resident_bytes == 64 * PAGE
    arena.release("a")
    assert arena.resident_bytes == 0
    arena.close()


def test_scattered_pages_are_contiguous_to_a_tensor_and_swap_under_it() -> None:
    arena = Arena("test", 8 * PAGE, PAGE)
    for index in range(4):
        region = arena.allocate(str(index), 2 * PAGE)
        values = torch.full((2 * PAGE // 4,), float(index))
        arena.write(region, memoryview(values.view(torch.uint8).numpy()))
    space = AddressSpace(4 * PAGE, PAGE)
    space.map(0, arena.file, [(6, 2)])
    space.map(2 * PAGE, arena.file, [(3, 1), (0, 1)])
    tensor = torch.frombuffer(space.view(0, 4 * PAGE), dtype=torch.float32)
    where = tensor.data_ptr()
    assert tensor.view(4, -1).mean(1).tolist() == [3.0, 3.0, 1.0, 0.0]
    space.map(0, arena.file, [(4, 2)])
    assert tensor.view(4, -1).mean(1).tolist() == [2.0, 2.0, 1.0, 0.0]
    assert tensor.data_ptr() == where
    del tensor
    space.close()
    arena.close()


def test_an_old_mapping_outlives_a_new_one_elsewhere() -> None:
    arena = Arena("test", 4 * PAGE, PAGE)
    arena.write(arena.allocate("a", PAGE), memoryview(b"a" * PAGE))
    old, new = AddressSpace(PAGE, PAGE), AddressSpace(PAGE, PAGE)
    old.map(0, arena.file, [(0, 1)])
    new.map(0, arena.file, [(0, 1)])
    new.unmap(0, PAGE)
    assert bytes(old.view(0, 3)) == b"aaa"
    with pytest.raises(ValueError, match="space of"):
        old.view(0, PAGE + 1)
    for space in (old, new, new):
        space.close()
    arena.close()


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
