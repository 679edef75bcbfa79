"""The model against `transformers` on the same random weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from slarag.backends.elastic.errors import CheckpointError
from slarag.backends.elastic.kernels.native import operations_for
from slarag.backends.elastic.models.checkpoint import Checkpoint
from slarag.backends.elastic.models.config import Qwen3MoeConfig
from slarag.backends.elastic.models.experts import LocalExperts
from slarag.backends.elastic.models.operations import Operations
from slarag.backends.elastic.models.paged import Batch, PagedKV, Segment
from slarag.backends.elastic.models.qwen3_moe import Qwen3Moe, load_shared
from slarag.backends.elastic.models.random_model import make_random_model, make_tokenizer
from slarag.backends.elastic.serve.tokenizer import PoolTokenizer

from .conftest import TINY

BLOCK_TOKENS = 4
Make = Callable[[Qwen3MoeConfig], Operations]
# Out of order on purpose: a sequence's blocks are wherever there was room.
TABLES = [[5, 2, 9, 14, 3], [7, 1, 12, 6, 11], [4, 8, 10, 13, 15]]


@pytest.fixture(params=[Operations, operations_for], ids=["torch", "kernels"])
def make(request: pytest.FixtureRequest) -> Make:
    return request.param


def load(folder: Path, make: Make) -> tuple[Qwen3Moe, PagedKV]:
    config = Qwen3MoeConfig.from_folder(folder)
    checkpoint = Checkpoint.open(folder)
    operations = make(config)
    model = Qwen3Moe(operations, load_shared(checkpoint, config), LocalExperts.load(checkpoint, operations))
    assert set(checkpoint.tensors_read.values()) == {1}
    checkpoint.close()
    return model, PagedKV.empty(config, 16, BLOCK_TOKENS, getattr(torch, config.dtype))


def reference(folder: Path, prompts: list[list[int]]) -> list[Tensor]:
    from transformers import Qwen3MoeForCausalLM

    model = Qwen3MoeForCausalLM.from_pretrained(folder).eval()
    with torch.inference_mode():
        return [model(torch.tensor([prompt])).logits[0].float() for prompt in prompts]


def run(model: Qwen3Moe, cache: PagedKV, segments: list[Segment]) -> Tensor:
    return model.logits(model.forward(Batch.of(segments, BLOCK_TOKENS), cache))


def prompts(seed: int, *lengths: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(0, TINY.vocab_size, (n,), generator=generator).tolist() for n in lengths]


@pytest.mark.parametrize("kind", ["tiny_folder", "dense_folder"])
def test_prefill_and_decode_match_transformers(kind: str, make: Make, request: pytest.FixtureRequest) -> None:
    folder: Path = request.getfixturevalue(kind)
    model, cache = load(folder, make)
    [prompt] = prompts(0, 17)
    [expected] = reference(folder, [prompt])
    prefill = run(model, cache, [Segment(prompt[:11], 0, TABLES[0])])
    torch.testing.assert_close(prefill, expected[:11], rtol=0, atol=1e-4)
    for position in range(11, 17):
        decoded = run(model, cache, [Segment(prompt[position : position + 1], position, TABLES[0])])
        torch.testing.assert_close(decoded[0], expected[position], rtol=0, atol=1e-4)


def test_a_batch_of_prefills_chunks_and_decodes_matches_transformers(tiny_folder: Path, make: Make) -> None:
    model, cache = load(tiny_folder, make)
    long, short, fresh = prompts(1, 18, 9, 7)
    expected = reference(tiny_folder, [long, short, fresh])
    run(model, cache, [Segment(long[:6], 0, TABLES[0]), Segment(short[:8], 0, TABLES[1])])
    mixed = [Segment(short[8:], 8, TABLES[1]), Segment(long[6:13], 6, TABLES[0]), Segment(fresh, 0, TABLES[2])]
    logits = run(model, cache, mixed)
    torch.testing.assert_close(logits[0], expected[1][8], rtol=0, atol=1e-4)
    torch.testing.assert_close(logits[1:8], expected[0][6:13], rtol=0, atol=1e-4)
    torch.testing.assert_close(logits[8:], expected[2], rtol=0, atol=1e-4)


def test_decodes_of_unequal_length_match_transformers(tiny_folder: Path, make: Make) -> None:
    model, cache = load(tiny_folder, make)
    sequences = prompts(2, 18, 3, 9)
    expected = reference(tiny_folder, sequences)
    run(model, cache, [Segment(s[:-1], 0, t) for s, t in zip(sequences, TABLES, strict=True)])
    last = [Segment(s[-1:], len(s) - 1, t) for s, t in zip(sequences, TABLES, strict=True)]
    batch = Batch.of(last, BLOCK_TOKENS)
    logits = model.logits(model.forward(batch, cache)[batch.last_rows])
    torch.testing.assert_close(logits, torch.stack([e[-1] for e in expected]), rtol=0, atol=1e-4)


def test_bfloat16_stays_near_float32(tmp_path: Path, make: Make) -> None:
    folder = make_random_model(tmp_path, replace(TINY, dtype="bfloat16"))
    [prompt] = prompts(3, 12)
    model, cache = load(folder, make)
    logits = run(model, cache, [Segment(prompt, 0, TABLES[0])])
    [expected] = reference(folder, [prompt])
    assert (logits - expected).abs().mean() < 0.05 * expected.std()


def test_a_float32_checkpoint_can_be_served_in_bfloat16(tiny_folder: Path) -> None:
    config = replace(Qwen3MoeConfig.from_folder(tiny_folder), dtype="bfloat16")
    checkpoint = Checkpoint.open(tiny_folder)
    narrow = load_shared(checkpoint, config)["embed"]
    wide = load_shared(checkpoint, Qwen3MoeConfig.from_folder(tiny_folder))["embed"]
    checkpoint.close()
    torch.testing.assert_close(narrow, wide.to(torch.bfloat16), rtol=0, atol=0)


def test_tokenizer_has_the_size_asked_for_and_round_trips() -> None:
    tokenizer = make_tokenizer(1500)
    assert tokenizer.get_vocab_size() == 1500
    text = "Grow, shrink & serve: naïve café №5"
    assert tokenizer.decode(tokenizer.encode(text).ids) == text
    assert all(tokenizer.decode([index], skip_special_tokens=False) for index in range(1500))


def test_what_is_not_served_is_refused_by_name(tmp_path: Path) -> None:
    raw = TINY.to_huggingface()
    for change in ({"model_type": "llama"}, {"use_sliding_window": True}, {"rope_scaling": {"rope_type": "yarn"}}):
        (tmp_path / "config.json").write_text(json.dumps({**raw, **change}))
        with pytest.raises(CheckpointError, match=next(iter(change)).replace("rope_scaling", "rope_type")):
            Qwen3MoeConfig.from_folder(tmp_path)
    with pytest.raises(CheckpointError, match=r"config\.json"):
        Qwen3MoeConfig.from_folder(tmp_path / "missing")
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(CheckpointError, match="not an object"):
        Qwen3MoeConfig.from_folder(tmp_path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("model.safetensors.index.json", "{}"),
        ("model-00001.safetensors", f"{chr(3)}{chr(0) * 7}[1]"),
        ("tokenizer.json", "{}"),
        ("tokenizer_config.json", "{oops"),
        ("chat_template.jinja", "{% for %}"),
    ],
)
def test_a_damaged_file_of_a_model_is_named(tiny_folder: Path, tmp_path: Path, name: str, content: str) -> None:
    for file in tiny_folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / name).write_text(content)

    def open_all() -> None:
        Checkpoint.open(tmp_path)
        PoolTokenizer.open(tmp_path)

    with pytest.raises(CheckpointError, match="cannot read"):
        open_all()


def test_weights_of_another_shape_are_refused(tiny_folder: Path) -> None:
    config = replace(Qwen3MoeConfig.from_folder(tiny_folder), hidden_size=32)
    checkpoint = Checkpoint.open(tiny_folder)
    with pytest.raises(CheckpointError, match=r"embed_tokens"):
        load_shared(checkpoint, config)
    checkpoint.close()


def test_a_cut_file_is_refused(tiny_folder: Path, tmp_path: Path) -> None:
    for file in tiny_folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    first = tmp_path / "model-00001.safetensors"
    first.write_bytes(first.read_bytes()[:-1000])
    config = Qwen3MoeConfig.from_folder(tmp_path)
    checkpoint = Checkpoint.open(tmp_path)
    with pytest.raises(CheckpointError, match="cut short"):
        load_shared(checkpoint, config)
    checkpoint.close()
