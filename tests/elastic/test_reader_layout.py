"""A reader's weights in a device's memory are those that the reader in one's own process has."""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from slarag.backends.elastic.device_layout import expert_region
from slarag.backends.elastic.memory.client import MemoryProcess
from slarag.backends.elastic.models.reader import ReaderLayout, reader_over
from slarag.backends.elastic.models.reader_experts import ReaderExperts
from slarag.backends.elastic.worker.device_memory import DeviceMemory
from slarag.backends.reader.config import EncoderConfig
from slarag.backends.reader.experts import RoutedFeedForward
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
    made = ReaderLayout.of(tmp_path, page_bytes=PAGE, max_batch_tokens=512, low_precision=low_precision)
    held = [(layer, expert) for layer in made.config.sparse_layers for expert in range(made.config.num_experts)]
    memory.client.add_device(0, made.sizes() | made.expert_sizes(held))
    loads = made.shared_loads(0)
    loads[made.dtype] += [part for pair in held for part in made.expert_parts(0, *pair)]
    for dtype, placed in loads.items():
        memory.client.load(str(tmp_path), placed, dtype)
    known, _ = load_reader(tmp_path)
    if low_precision:
        use_bfloat16(known)
    layout = ReaderLayout.from_message(json.loads(json.dumps(made.to_message())))
    with memory.client.attached(0) as attachment:
        device = DeviceMemory(layout, weights_of=ReaderExperts.of)
        device.map(attachment.file, attachment.regions)
        device.experts.take_in(
            attachment.file, [(*pair, attachment.regions[expert_region(*pair)].runs) for pair in held]
        )
    ours = reader_over(layout, device.shared).state_dict()
    assert list(ours) == list(known.state_dict())
    for name, tensor in known.state_dict().items():
        if ".expert_" not in name:
            assert (ours[name].dtype, torch.equal(ours[name], tensor)) == (tensor.dtype, True), name
    for layer, expert in held:
        block, mine = known.encoder.layers[layer].feed_forward, device.experts.weights[layer]
        assert isinstance(block, RoutedFeedForward)
        assert isinstance(mine, ReaderExperts)
        theirs = block.expert_up[expert], block.expert_down[expert], block.expert_up_bias[expert]
        assert all(map(torch.equal, (*mine.views[expert], mine.biases[expert]), theirs))
