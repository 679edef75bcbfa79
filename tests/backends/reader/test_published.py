"""DLO as it was published (arXiv 2407.11030): what its layers skip, how that is taught, and its threshold."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from slarag.backends.reader.depth import GRID, DepthSchedule, choose_by_threshold, choose_in_batch
from slarag.backends.reader.labels import LossTeacher, SimilarityTeacher
from slarag.backends.reader.model import Reader
from slarag.backends.reader.rows import Rows

from .dynamic_models import batch, dynamic, encoder_of, random_routes

PUBLISHED = {"group": 2, "skip": "feed_forward"}


class _Watcher(SimilarityTeacher):
    """Keeps what it is shown."""

    def __init__(self) -> None:
        super().__init__(0.5)
        self.shown: list[tuple[Tensor, Tensor, Tensor]] = []

    def mark(self, new: Tensor, old: Tensor, null: Tensor, rows: int) -> Tensor:
        self.shown.append((new.detach().clone(), old.detach().clone(), null.detach().clone()))
        return super().mark(new, old, null, rows)


def test_its_router_is_a_direction_in_the_layers_input_that_starts_at_zero() -> None:
    layer = encoder_of(dynamic(**PUBLISHED)).layers[1]
    assert layer.router.bias is None
    assert not layer.router.weight.any()
    with torch.no_grad():
        layer.router.weight.normal_()
        x, rows = torch.randn(6, 24), Rows.of(torch.tensor([6]))
        _, trace = layer(x.clone(), rows, None, None)
        torch.testing.assert_close(trace.null, layer.router(x)[:, -1])


def test_the_router_of_whole_layers_keeps_its_bias() -> None:
    assert "encoder.layers.0.router.bias" in dynamic(group=2, skip="layer").state_dict()


def test_every_token_is_labelled_though_few_are_run() -> None:
    reader, lengths = random_routes(dynamic(**PUBLISHED)), batch()[2]
    watcher = _Watcher()
    traces = reader(*batch(), _at_activity(reader, 0.4), watcher).traces
    assert all(int(trace.active.sum()) < 0.6 * int(lengths.sum()) for trace in traces)
    assert [len(null) for _, _, null in watcher.shown] == [int(lengths.sum())] * len(traces)
    assert watcher.loss() is not None
    assert watcher.labelled is not None
    assert float(watcher.labelled.mean()) == pytest.approx(0.5, abs=0.01)


def test_a_skipped_token_is_labelled_by_what_it_would_have_become() -> None:
    layer = encoder_of(random_routes(dynamic(skip="feed_forward"))).layers[0]
    x, rows = torch.randn(10, 24), Rows.of(torch.tensor([10]))
    few, all_of_them = _Watcher(), _Watcher()
    layer(x, rows, torch.tensor([4]), few)
    layer(x, rows, None, all_of_them)
    for some, every in zip(few.shown[0], all_of_them.shown[0], strict=True):
        torch.testing.assert_close(some, every)


def test_labels_of_skipped_tokens_train_the_router_only() -> None:
    reader = random_routes(dynamic(skip="feed_forward"))
    teacher = SimilarityTeacher(0.5)
    reader(*batch(), _at_activity(reader, 0.3), teacher)
    loss = teacher.loss()
    assert loss is not None
    loss.backward()
    layer = encoder_of(reader).layers[-1]
    assert layer.router.weight.grad.abs().sum() > 0
    assert layer.feed_forward.up.weight.grad is None


def test_labels_of_loss_are_of_the_tokens_that_ran() -> None:
    reader = random_routes(dynamic(**PUBLISHED))
    assert not LossTeacher.sees_all
    reader(*batch(), _at_activity(reader, 0.4), LossTeacher()).support.sum().backward()
    assert encoder_of(reader).layers[0].router.weight.grad.abs().sum() > 0


def test_training_runs_the_batchs_likeliest_tokens_wherever_they_are() -> None:
    null = torch.tensor([3.0, 2.0, 1.0, -1.0, -2.0, -3.0])
    active = choose_in_batch(null, torch.tensor([2, 1]), Rows.of(torch.tensor([4, 2])))
    assert active is not None
    assert active.index.tolist() == [3, 4, 5]
    assert active.rows.sizes == (1, 2)
    assert active.others(6).tolist() == [0, 1, 2]


def test_its_threshold_is_a_half_and_knows_no_budget() -> None:
    null, rows = torch.tensor([0.1, -0.1, 0.0, -2.0]), Rows.of(torch.tensor([2, 2]))
    for counts in (None, torch.tensor([2, 2])):
        active = choose_by_threshold(null, counts, rows)
        assert active is not None
        assert active.index.tolist() == [1, 3]
    assert choose_by_threshold(null - 1, None, rows) is None


@pytest.mark.parametrize("experts", [0, 2])
def test_a_reader_can_be_read_by_the_threshold(experts: int) -> None:
    reader = random_routes(dynamic(**PUBLISHED, experts=experts))
    encoder = encoder_of(reader)
    encoder.choose_by(choose_by_threshold)
    with torch.inference_mode():
        output = reader(*batch())
    ran = [int((trace.null < 0).sum()) for trace in output.traces if trace.null is not None]
    assert ran == [int(trace.active.sum()) for trace in output.traces]
    assert 0 < float(encoder.spent(output.traces, batch()[2]).mean()) < 1


@pytest.mark.parametrize("experts", [0, 2])
def test_the_threshold_may_run_nothing_at_all(experts: int) -> None:
    reader = dynamic(skip="feed_forward", experts=experts)
    encoder_of(reader).choose_by(choose_by_threshold)
    with torch.inference_mode():
        output = reader(*batch())
    assert not any(int(trace.active.sum()) for trace in output.traces), "the zero router says one half, not more"
    assert torch.isfinite(output.support).all()


def test_whole_layers_are_chosen_row_by_row() -> None:
    with pytest.raises(ValueError, match="row by row"):
        encoder_of(dynamic(skip="layer")).choose_by(choose_by_threshold)


def test_a_schedule_goes_through_the_layers_capacities() -> None:
    schedule = DepthSchedule(4)
    capacities = torch.tensor([1.0, 0.9, 0.2, 0.4])
    schedule.fit_through(capacities)
    for step in range(GRID + 1):
        assert float(schedule.shares[step].mean()) == pytest.approx(step / GRID, abs=1e-6)
    torch.testing.assert_close(schedule(torch.tensor([0.625]))[0], capacities)
    assert torch.all(schedule.shares.diff(dim=0) >= -1e-6)
    schedule.fit_through(torch.ones(4))
    torch.testing.assert_close(schedule(torch.tensor([0.5]))[0], torch.full((4,), 0.5))


def _at_activity(reader: Reader, activity: float) -> Tensor:
    """Budgets for `batch()` of which that share of the tokens is active."""
    lengths, encoder = batch()[2], encoder_of(reader)
    return encoder.flops.spent(activity * lengths * encoder.config.num_layers, lengths)
