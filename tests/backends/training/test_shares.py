"""Budgets are spread so that answers change least."""

from __future__ import annotations

import numpy as np
import torch

from slarag.backends.reader.depth import GRID
from slarag.backends.reader.dynamic_encoder import DynamicEncoder
from slarag.backends.reader.parent import load_tokenizer
from slarag.backends.reader.store import SHIPPED_MOE, load_reader
from slarag.backends.training.encoding import TrainingBatch, collate, encode_examples
from slarag.backends.training.shares import ANCHORS, fit_shares
from slarag.backends.training.sources import Example

_PASSAGE = "Io is the innermost of the four large moons of Jupiter. Galileo Galilei found it in Padua in January 1610."


def _batches() -> list[TrainingBatch]:
    found = _PASSAGE.index("Galileo")
    questions = ("Who found Io?", "Who saw the innermost moon first?", "Which astronomer found it in Padua?")
    examples = [Example(first=q, passage=_PASSAGE, start=found, end=found + 15, labels=0) for q in questions]
    return [collate(encode_examples(examples, load_tokenizer(), 64, 0), np.arange(len(examples)))]


def test_fitted_shares_keep_the_activity_and_lower_the_divergence() -> None:
    model, _ = load_reader(SHIPPED_MOE)
    assert isinstance(model.encoder, DynamicEncoder)
    table = model.encoder.schedule.shares
    table[1:-1] = torch.linspace(0, 1, GRID + 1)[1:-1, None]  # even, as before any fit
    found = fit_shares(model, _batches(), moves=2)
    assert len(found) == len(ANCHORS)
    assert all(after <= before for before, after in found)
    assert any(after < before for before, after in found)
    torch.testing.assert_close(table.mean(1), torch.linspace(0, 1, GRID + 1))
    assert float(table.min()) >= 0
    assert float(table.max()) <= 1


def test_a_reader_without_budgets_is_left_alone() -> None:
    assert fit_shares(load_reader(SHIPPED_MOE.with_name("weights"))[0], _batches()) == []
