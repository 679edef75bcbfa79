"""A reader's weights in a device's memory are those that the reader in one's own process has."""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from slarag.backends.elastic.memory.client import MemoryProcess
from slarag.backends.elastic.models.reader import ReaderLayout, reader_over
from slarag.backends.elastic.worker.device_memory import map_region
from slarag.backends.reader.config import EncoderConfig
from slarag.backends.reader.model import Reader
from slarag.backends.reader.storage import Storage
from slarag.backends.reader.store import ReaderSettings, load_reader, save_reader, use_bfloat16

PAGE = mmap.PAGESIZE
SIZES = {"num_layers": 2, "intermediate_size": 64}
DENSE = EncoderConfig(**SIZES)
ROUTED = EncoderConfig(
    **SIZES, experts=4, top_k=1, shared_size=32, expert_size=32, added_layers=(1,), skip="feed_forward"
)


@pytest.fixture
def memory() -> Iterator[MemoryProcess]:
    process = MemoryProcess.start(64_000_000, PAGE)
    yield process
    process.close()


@pytest.mark.parametrize(
    ("config", "storage", "low_precision"),
    [(DENSE, "bfloat16", False), (DENSE, "bfloat16", True), (ROUTED, "int8", False), (ROUTED, "int8", True)],
)
def test_what_lies_in_the_arena_is_what_is_loaded(
    memory: MemoryProcess, tmp_path: Path, config: EncoderConfig, storage: Storage, low_precision: bool
) -> None:
    torch.manual_seed(0)
    save_reader(Reader(config), ReaderSettings(), tmp_path, storage=storage)
    layout = ReaderLayout.of(tmp_path, page_bytes=PAGE, low_precision=low_precision)
    memory.client.add_device(0, layout.sizes())
    for dtype, placed in layout.shared_loads(0).items():
        memory.client.load(str(tmp_path), placed, dtype)
    known, _ = load_reader(tmp_path)
    if low_precision:
        use_bfloat16(known)
    with memory.client.attached(0) as attachment:
        space = map_region(attachment.file, attachment.regions["shared"], PAGE)
    found = reader_over(json.loads(json.dumps(layout.to_message())), space.view)
    ours, theirs = found.state_dict(), known.state_dict()
    assert list(ours) == list(theirs)
    for name, tensor in theirs.items():
        assert ours[name].dtype == tensor.dtype, name
        assert torch.equal(ours[name], tensor), name
    del found, ours
    space.close()
