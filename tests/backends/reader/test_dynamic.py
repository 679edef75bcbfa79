from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from slarag.backends.reader.depth import DepthSchedule, choose_active
from slarag.backends.reader.experts import RoutedFeedForward
from slarag.backends.reader.labels import LossTeacher, SimilarityTeacher
from slarag.backends.reader.rows import Rows

from .dynamic_models import batch, dynamic, encoder_of, random_routes

SHAPE = {"group": 2, "experts": 3, "skip": "layer"}


@settings(max_examples=25, deadline=None)
@given(
    lengths=st.lists(st.integers(5, 60), min_size=1, max_size=4),
    budgets=st.lists(st.floats(0.3, 1.0), min_size=4, max_size=4),
)
def test_each_row_of_a_batch_spends_its_own_budget(lengths: list[int], budgets: list[float]) -> None:
    reader = random_routes(dynamic(**SHAPE))
    ids, segments, sizes = batch(tuple(lengths))
    wanted = torch.tensor(budgets[: len(lengths)])
    with torch.inference_mode():
        traces = reader(ids, segments, sizes, wanted).traces
    encoder = encoder_of(reader)
    spent = encoder.spent(traces, sizes)
    least, token = (encoder.flops.spent(torch.full((len(sizes),), n), sizes) for n in (6.0, 7.0))
    # A row spends what its keys and values cost, and one token a layer, whatever it is given; and tokens are whole.
    within = torch.maximum(0.05 * wanted, 0.51 * (token - least))
    assert torch.all((spent - torch.maximum(wanted, least)).abs() <= within)


def test_rounding_does_not_add_up_over_the_layers_of_a_short_row() -> None:
    schedule = DepthSchedule(8)
    for length in (8, 11, 16):
        for activity in (0.32, 0.45, 0.57, 0.7):
            counts = schedule.counts(torch.tensor([activity]), torch.tensor([length]))
            assert int(counts.sum()) == round(activity * 8 * length)


def test_a_row_keeps_a_token_in_a_layer_that_is_to_have_none_and_saves_it_elsewhere() -> None:
    schedule = DepthSchedule(4)
    schedule.shares[:] = torch.tensor([0.0, 0.5, 0.0, 0.5])
    assert schedule.counts(torch.tensor([0.25]), torch.tensor([12])).sort().values.tolist() == [[1, 1, 4, 6]]


def test_a_row_does_not_depend_on_who_shares_its_batch() -> None:
    reader = random_routes(dynamic(**SHAPE))
    ids, segments, lengths = batch((30, 22, 9))
    with torch.inference_mode():
        together = reader(ids, segments, lengths, torch.tensor([1.0, 0.6, 0.4]))
        alone = reader(ids[1:2, :22], segments[1:2, :22], lengths[1:2], torch.tensor([0.6]))
    torch.testing.assert_close(together.support[1], alone.support[0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(together.start[1, :22], alone.start[0], atol=1e-5, rtol=1e-5)


def test_a_full_budget_is_no_budget() -> None:
    reader = random_routes(dynamic(**SHAPE))
    with torch.inference_mode():
        free, full = reader(*batch()), reader(*batch(), torch.ones(3))
    torch.testing.assert_close(full.support, free.support, atol=1e-5, rtol=1e-5)


def test_a_smaller_budget_changes_the_reading() -> None:
    reader = random_routes(dynamic(**SHAPE))
    with torch.inference_mode():
        outputs = [reader(*batch(), torch.full((3,), share)).support for share in (1.0, 0.7, 0.4)]
    assert not torch.allclose(outputs[0], outputs[1], atol=1e-4)
    assert not torch.allclose(outputs[1], outputs[2], atol=1e-4)


def test_a_skipped_token_passes_a_layer_unchanged_and_is_still_seen() -> None:
    reader = random_routes(dynamic(experts=2, skip="layer"))
    layer = encoder_of(reader).layers[0]
    x, rows = torch.randn(10, 24), Rows.of(torch.tensor([10]))
    with torch.no_grad():
        after, trace = layer(x.clone(), rows, torch.tensor([5]), None)
        kept = (after == x).all(-1)
        moved = x.clone()
        moved[kept.nonzero()[0]] *= 3.0
        elsewhere, _ = layer(moved, rows, torch.tensor([5]), None)
    assert int(kept.sum()) == 5 == 10 - int(trace.active)
    assert not torch.allclose(elsewhere[~kept], after[~kept]), "its key and value still count"


def test_a_row_with_fewer_tokens_has_fewer_active_ones() -> None:
    null = torch.cat([torch.arange(8.0), torch.full((3,), -100.0)])
    active = choose_active(null, torch.tensor([4, 3]), Rows.of(torch.tensor([8, 3])))
    assert active is not None
    assert active.rows.sizes == (4, 3)
    assert active.index.tolist() == [0, 1, 2, 3, 8, 9, 10]


def test_the_null_experts_lowest_logits_are_the_active_ones() -> None:
    null = torch.tensor([3.0, -1.0, 2.0, -2.0])
    active = choose_active(null, torch.tensor([2]), Rows.of(torch.tensor([4])))
    assert active is not None
    assert active.index.tolist() == [1, 3]


@pytest.mark.parametrize("lengths", [(5, 5), (3, 7, 1)])
def test_rows_laid_end_to_end_can_be_padded_again(lengths: tuple[int, ...]) -> None:
    rows = Rows.of(torch.tensor(lengths), 7)
    laid = torch.randn(sum(lengths), 4)
    padded = rows.padded(laid, fill=9.0)
    assert padded.shape == (len(lengths), 7, 4)
    assert bool((padded[-1, lengths[-1] :] == 9.0).all())
    assert torch.equal(rows.laid(padded), laid)


def test_training_and_reading_compute_the_same() -> None:
    reader = random_routes(dynamic(**SHAPE))
    budgets = torch.tensor([1.0, 0.6, 0.4])
    trained = reader(*batch(), budgets)
    with torch.inference_mode():
        read = reader(*batch(), budgets)
    torch.testing.assert_close(read.start, trained.start.detach(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(read.support, trained.support.detach(), atol=1e-5, rtol=1e-5)


def test_a_token_passes_the_experts_that_its_router_ranks_first() -> None:
    torch.manual_seed(0)
    block = RoutedFeedForward(8, 4, 6, experts=3, top_k=1)
    x = torch.randn(5, 8)
    logits = torch.full((5, 3), -5.0)
    logits[torch.arange(5), torch.tensor([0, 1, 2, 1, 0])] = 5.0
    together, chosen = block(x, logits)
    assert chosen.squeeze(-1).tolist() == [0, 1, 2, 1, 0]
    for row in range(5):
        alone, _ = block(x[row : row + 1], logits[row : row + 1])
        torch.testing.assert_close(together[row], alone[0])
    with torch.no_grad():
        block.expert_down[1].zero_()
    changed, _ = block(x, logits)
    assert [bool((changed[i] != together[i]).any()) for i in range(5)] == [False, True, False, True, False]


def test_two_chosen_experts_share_by_their_probability() -> None:
    torch.manual_seed(0)
    block = RoutedFeedForward(8, 4, 6, experts=3, top_k=2)
    x, logits = torch.randn(1, 8), torch.tensor([[1.0, 0.0, -9.0]])
    both, _ = block(x, logits)
    shared = block.shared_down(torch.nn.functional.gelu(block.shared_up(x)))
    first, second = (block(x, torch.nn.functional.one_hot(torch.tensor([i]), 3) * 40.0)[0] - shared for i in (0, 1))
    weight = torch.sigmoid(torch.tensor(1.0))
    torch.testing.assert_close(both, shared + weight * first + (1 - weight) * second, atol=1e-5, rtol=1e-4)


def test_the_router_learns_from_what_its_expert_does() -> None:
    reader = random_routes(dynamic(experts=3)).train()
    reader(*batch()).support[:, 0].sum().backward()
    for layer in encoder_of(reader).layers:
        assert layer.router.weight.grad.abs().sum() > 0


def test_a_schedule_spends_what_it_is_given_wherever_the_routers_want_it() -> None:
    torch.manual_seed(0)
    schedule = DepthSchedule(4)
    wanted = torch.randn(500, 4) + torch.tensor([2.0, 0.0, 0.0, -2.0])
    schedule.fit(wanted)
    for activity in (0.1, 0.37, 0.5, 0.8, 1.0):
        shares = schedule(torch.tensor([activity]))[0]
        assert shares.mean() == pytest.approx(activity, abs=0.01)
        assert torch.all(shares.diff() >= -0.05), "the last layer's tokens are the ones that are to run"
    assert schedule(torch.tensor([0.5]))[0, 0] < 0.3


def test_loss_labels_rank_tokens_by_what_their_update_is_worth() -> None:
    torch.manual_seed(0)
    teacher = LossTeacher(weight=1.0)
    null = torch.zeros(40, requires_grad=True)
    worth = torch.linspace(0.01, 4.0, 40)
    optimizer = torch.optim.SGD([null], lr=8.0)
    for _ in range(60):
        old = torch.zeros(40, 6)
        new = teacher.mark(old + 1.0, old, null, rows=1)
        optimizer.zero_grad()
        (new.sum(-1) * worth).sum().backward()
        optimizer.step()
    assert torch.equal(null.argsort(descending=True), torch.arange(40)), "the least worth is the first to skip"


def test_loss_labels_leave_the_gradient_of_the_layer_alone() -> None:
    teacher = LossTeacher()
    x = torch.randn(5, 3, requires_grad=True)
    null = torch.zeros(5, requires_grad=True)
    (teacher.mark(x * 2, x.detach(), null, rows=1) ** 2).sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, 8 * x.detach())
    assert teacher.loss() is None


def test_similarity_labels_are_global_over_layers() -> None:
    teacher = SimilarityTeacher(capacity=0.5)
    still, turned = torch.ones(4, 3), torch.tensor([[1.0, -1.0, 0.0]]).repeat(4, 1)
    nulls = [torch.zeros(4, requires_grad=True) for _ in range(2)]
    teacher.mark(still, still, nulls[0], rows=1)
    teacher.mark(turned, still, nulls[1], rows=1)
    loss = teacher.loss()
    assert loss is not None
    loss.backward()
    first, second = (null.grad for null in nulls)
    assert first is not None
    assert second is not None
    assert torch.all(first < 0), "unchanged tokens are to be skipped: their null logits rise"
    assert torch.all(second > 0)
    assert teacher.loss() is None, "a batch is labelled once"
