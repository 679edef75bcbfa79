from __future__ import annotations

import math

import torch

from slarag.backends.reader.model import END_RANK, ReaderOutput
from slarag.backends.training.distillation import Elder, matching_loss
from slarag.backends.training.encoding import TrainingBatch
from tests.backends.reader import dynamic_models


def _output(seed: int) -> ReaderOutput:
    draw = torch.Generator().manual_seed(seed)
    start = torch.randn(3, 6, generator=draw)
    start[:, 1:3] = -math.inf
    bias = torch.randn(3, 6, generator=draw)
    bias[:, 1:3] = -math.inf
    return ReaderOutput(
        start=start,
        end_bias=bias,
        end_query=torch.randn(3, 6, END_RANK, generator=draw),
        end_key=torch.randn(3, 6, END_RANK, generator=draw),
        answerable=torch.randn(3, generator=draw),
        support=torch.randn(3, 3, generator=draw),
    )


CLAIMS = torch.tensor([False, True, False])


def test_agreement_costs_nothing_and_difference_something() -> None:
    one, other = _output(1), _output(2)
    assert float(matching_loss(one, one, CLAIMS)) == 0.0
    assert float(matching_loss(one, other, CLAIMS)) > 0.1


def test_claims_compare_support_and_questions_do_not() -> None:
    one, other = _output(1), _output(1)
    other.support[0] += torch.tensor([3.0, 0.0, 0.0])
    assert float(matching_loss(other, one, CLAIMS)) == 0.0
    other.support[1] += torch.tensor([3.0, 0.0, 0.0])
    assert float(matching_loss(other, one, CLAIMS)) > 0.0


def test_following_the_gradient_brings_agreement() -> None:
    learner, full = _output(3), _output(4)
    parts = (learner.start, learner.end_bias, learner.end_query, learner.answerable, learner.support)
    for part in parts:
        part.requires_grad_(True)
    before = matching_loss(learner, full, CLAIMS)
    before.backward()
    assert all(part.grad is not None and torch.isfinite(part.grad).all() for part in parts)
    with torch.no_grad():
        for part in parts:
            assert part.grad is not None
            part.sub_(part.grad, alpha=0.1)
    assert matching_loss(learner, full, CLAIMS).item() < before.item()


def test_an_elder_is_agreed_with_on_questions_alone() -> None:
    ids, segments, lengths = dynamic_models.batch()
    labels = torch.tensor([[False] * 3, [True, False, False], [False] * 3])
    batch = TrainingBatch(ids=ids, segments=segments, lengths=lengths, start=lengths, end=lengths, labels=labels)
    elder, other = dynamic_models.dense(0), dynamic_models.dense(1)
    with torch.no_grad():
        said, otherwise = elder(ids, segments, lengths), other(ids, segments, lengths)
    assert float(Elder(elder, 1.0).loss(said, batch)) < 1e-5
    apart = float(Elder(elder, 1.0).loss(otherwise, batch))
    assert apart > 1e-3
    torch.testing.assert_close(float(Elder(elder, 2.0).loss(otherwise, batch)), 2 * apart)
    otherwise.support[0] += 9.0
    otherwise.start[1] += torch.randn_like(otherwise.start[1]) * 9.0
    torch.testing.assert_close(float(Elder(elder, 1.0).loss(otherwise, batch)), apart)
    claims = TrainingBatch(
        ids=ids, segments=segments, lengths=lengths, start=lengths, end=lengths, labels=torch.ones_like(labels)
    )
    assert float(Elder(elder, 1.0).loss(otherwise, claims)) == 0.0
