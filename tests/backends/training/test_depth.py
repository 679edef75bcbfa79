"""What a run's steps teach routers: budgets drawn, capacities annealed, the schedule kept up, and all of it resumed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file

from slarag.backends.reader.depth import choose_active, choose_in_batch
from slarag.backends.reader.labels import LossTeacher, SimilarityTeacher
from slarag.backends.reader.model import Reader
from slarag.backends.training.depth import REFRESH, DepthLessons
from slarag.backends.training.encoding import EncodedExamples, collate, encode_examples
from slarag.backends.training.recipe import Recipe, load_recipe
from slarag.backends.training.sources import Example
from slarag.backends.training.start import ModelRecipe
from slarag.backends.training.trainer import TrainingRun, parameter_groups
from tests.backends.reader.dynamic_models import batch, dynamic, encoder_of, random_routes

LENGTHS = batch()[2]
PUBLISHED = {"skip": "feed_forward", "labels": "similarity", "capacity": 0.6, "capacity_steps": 10}


def _lessons(reader: Reader | None = None, **model: Any) -> DepthLessons:
    recipe = ModelRecipe.model_validate({"skip": "layer", **model})
    return DepthLessons(recipe, reader or random_routes(dynamic(group=2, skip=recipe.skip)), seed=1)


def test_budgets_are_drawn_for_each_row_and_alike_in_every_process() -> None:
    lessons, elsewhere = _lessons(lowest_budget=0.4, full_share=0.3), _lessons(lowest_budget=0.4, full_share=0.3)
    drawn = [lessons.budgets(step, LENGTHS) for step in range(200)]
    full = sum(budgets is None for budgets in drawn)
    assert 40 <= full <= 80
    shortened = torch.cat([budgets for budgets in drawn if budgets is not None])
    assert 0.4 <= float(shortened.min()) < 0.45
    assert 0.95 < float(shortened.max()) <= 1
    for step, budgets in enumerate(drawn):
        again = elsewhere.budgets(step, LENGTHS)
        assert (again is None) == (budgets is None)
        assert budgets is None or torch.equal(budgets, again if again is not None else torch.empty(0))


def test_a_reader_that_skips_nothing_has_no_lessons() -> None:
    lessons = DepthLessons(ModelRecipe(group=2), dynamic(group=2), seed=1)
    assert lessons.budgets(0, LENGTHS) is None
    assert lessons.teacher(None) is None
    assert not lessons.state()


def test_experts_that_are_used_alike_cost_least() -> None:
    reader = dynamic(experts=4)
    lessons = DepthLessons(ModelRecipe(experts=4, balance_weight=0.5), reader, seed=1)
    even = lessons.extra_loss(random_routes(reader)(*batch()))
    with torch.no_grad():
        for layer in encoder_of(reader).layers:
            layer.router.bias[0] = 30.0
    one_for_all = lessons.extra_loss(reader(*batch()))
    layers = encoder_of(reader).config.num_layers
    assert even is not None
    assert one_for_all is not None
    worst, least = 0.5 * 4 * layers, 0.5 * layers
    assert one_for_all.item() == pytest.approx(worst, rel=1e-3)
    assert 0.9 * least < even.item() < 2 * least


def test_the_balance_loss_draws_tokens_to_the_expert_that_has_few() -> None:
    reader = random_routes(dynamic(experts=2))
    with torch.no_grad():
        for layer in encoder_of(reader).layers:
            layer.router.bias[0] = 20.0
    loss = DepthLessons(ModelRecipe(experts=2), reader, seed=1).extra_loss(reader(*batch()))
    assert loss is not None
    loss.backward()
    for layer in encoder_of(reader).layers:
        assert layer.router.bias.grad[0] >= 0 >= layer.router.bias.grad[1]


def test_the_schedule_follows_the_routers_now_and_then() -> None:
    reader = random_routes(dynamic(group=2, skip="layer"))
    lessons = _lessons(reader)
    schedule = encoder_of(reader).schedule
    with torch.no_grad():
        encoder_of(reader).layers[0].router.bias[-1] = -9.0
    even, traces = schedule.shares.clone(), reader(*batch()).traces
    lessons.after(REFRESH - 1, traces)
    assert torch.equal(schedule.shares, even)
    lessons.after(REFRESH, traces)
    assert schedule(torch.tensor([0.5]))[0, 0] > 0.9, "the layer that nobody wants to skip is run"
    assert float(schedule(torch.tensor([0.5])).mean()) == pytest.approx(0.5, abs=0.01)


def test_labels_of_similarity_need_full_steps_where_whole_layers_are_skipped() -> None:
    lessons = _lessons(labels="similarity")
    assert isinstance(lessons.teacher(None), SimilarityTeacher)
    assert lessons.teacher(torch.ones(3)) is None
    assert isinstance(_lessons().teacher(torch.ones(3)), LossTeacher)
    assert isinstance(_lessons(**PUBLISHED).teacher(torch.ones(3)), SimilarityTeacher)


def test_the_capacity_falls_to_where_it_is_to_be_in_so_many_steps() -> None:
    lessons = _lessons(**PUBLISHED)
    assert [round(lessons.capacity(step), 3) for step in (0, 5, 10, 500)] == [1.0, 0.8, 0.6, 0.6]


def test_a_published_step_runs_and_labels_what_the_capacity_leaves() -> None:
    reader = random_routes(dynamic(**_shape()))
    lessons = _lessons(reader, **PUBLISHED)
    for step, capacity in ((0, 1.0), (5, 0.8), (30, 0.6)):
        budgets = lessons.budgets(step, LENGTHS)
        output = reader(*batch(), budgets, lessons.teacher(budgets))
        active = sum(int(trace.active.sum()) for trace in output.traces)
        assert active / (len(output.traces) * int(LENGTHS.sum())) == pytest.approx(capacity, abs=0.02)
        assert lessons.extra_loss(output) is not None
        assert float(lessons.labelled.mean()) == pytest.approx(capacity, abs=0.02)


def test_a_layers_labels_are_its_capacity_and_set_the_pace_of_its_weights() -> None:
    reader = random_routes(dynamic(**_shape()))
    lessons = _lessons(reader, **PUBLISHED)
    labelled = torch.linspace(1.0, 0.2, 6)
    for _ in range(200):
        lessons.agree(labelled)
    shares = encoder_of(reader).schedule(torch.tensor([0.6]))[0]
    torch.testing.assert_close(shares, labelled, atol=0.03, rtol=0)
    rates = [lessons.rate(layer) for layer in range(6)]
    assert rates == sorted(rates, reverse=True)
    assert sum(rates) / 6 == pytest.approx(1.0)
    assert rates[0] == pytest.approx(1.4, abs=0.01)
    assert lessons.rate(None) == 1.0


def test_what_a_published_run_knows_goes_into_its_next_session() -> None:
    lessons, later = _lessons(**PUBLISHED), _lessons(**PUBLISHED)
    for _ in range(20):
        lessons.agree(torch.linspace(1.0, 0.2, 6))
    later.restore(lessons.state())
    assert [later.rate(layer) for layer in range(6)] == [lessons.rate(layer) for layer in range(6)]
    later.restore({})


def test_only_the_published_way_takes_tokens_over_the_batch() -> None:
    for model, choose in (({}, choose_active), (PUBLISHED, choose_in_batch)):
        _lessons(reader := dynamic(**_shape(str(model.get("skip", "layer")))), **model)
        assert all(layer.choose is choose for layer in encoder_of(reader).layers)


def test_biases_do_not_decay_stacked_or_not() -> None:
    reader = dynamic(group=2, experts=2, skip="layer")
    parameters = reader.trainable()
    groups = parameter_groups(parameters, _recipe({}), layered=False)
    names = {id(parameter): name for name, parameter in parameters.items()}
    decayed = {names[id(p)] for group in groups if group["weight_decay"] for p in group["params"]}
    assert sorted(id(p) for group in groups for p in group["params"]) == sorted(map(id, parameters.values()))
    assert "encoder.layers.0.feed_forward.expert_up" in decayed
    assert not [name for name in decayed if name.endswith(("bias", ".gate")) or "norm" in name or "router" in name]


def test_layers_are_groups_of_their_own_where_their_rates_differ() -> None:
    reader = dynamic(**_shape())
    groups = parameter_groups(reader.trainable(), _recipe({}), layered=True)
    assert {group["layer"] for group in groups} == {None, *range(6)}
    fast = [group for group in groups if group["scale"] > 1]
    assert [group["layer"] for group in fast] == [None]


@pytest.mark.slow
@pytest.mark.parametrize(
    "model",
    [
        {"group": 3, "experts": 2, "skip": "layer", "full_share": 0.0},
        {"group": 3, "skip": "feed_forward", "labels": "similarity", "capacity": 0.5, "capacity_steps": 2},
    ],
    ids=["ours", "as published"],
)
def test_a_dynamic_run_goes_on_as_if_it_had_not_stopped(model: dict[str, Any], tmp_path: Path) -> None:
    """Two steps, a checkpoint, two more: here and in a run that starts from the checkpoint."""
    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'rendezvous'}", rank=0, world_size=1)
    try:
        run, examples = TrainingRun(0, _recipe(model), tmp_path), _examples()
        rows = torch.arange(len(examples)).numpy()
        before = run.model.state_dict()["encoder.layers.0.router.weight"].clone()
        for _ in range(2):
            run.step(collate(examples, rows), 0.3)
        run.save()
        other = TrainingRun(0, _recipe(model), tmp_path)
        other.resume()
        assert other.progress == run.progress
        assert other.lessons.state().keys() == run.lessons.state().keys()
        losses = [each.step(collate(examples, rows), 0.3) for each in (run, other) for _ in range(2)]
    finally:
        dist.destroy_process_group()
    assert losses[:2] == pytest.approx(losses[2:], rel=1e-3)
    for name, value in run.lessons.state().items():
        torch.testing.assert_close(other.lessons.state()[name], value, atol=1e-3, rtol=1e-2)
    assert not torch.equal(run.model.state_dict()["encoder.layers.0.router.weight"], before), "routers learn"
    assert any(name.startswith("lessons.") for name in load_file(tmp_path / "checkpoint.safetensors"))


@pytest.mark.parametrize("name", ["reader-expanded", "reader-dlo"])
def test_what_the_mixture_is_compared_with_ships_as_recipes(name: str) -> None:
    folder = Path(load_recipe.__code__.co_filename).parent
    recipe, mixture = load_recipe(folder / f"{name}.yaml"), load_recipe(folder / "reader-moe.yaml")
    assert recipe.sources == mixture.sources
    assert (recipe.model.start, recipe.model.group, recipe.model.experts) == ("reader", 3, 0)
    assert recipe.model.skip == ("none" if name == "reader-expanded" else "feed_forward")


def _shape(skip: str = "feed_forward") -> dict[str, Any]:
    return {"group": 2, "skip": skip}


def _recipe(model: dict[str, Any]) -> Recipe:
    return Recipe.model_validate({"sources": [], "processes": 1, "warmup": 0.0, "model": model})


def _examples() -> EncodedExamples:
    from slarag.backends.reader.parent import load_tokenizer

    texts = [f"Triton is a moon that Lassell found in {year}, after Neptune." for year in range(1840, 1844)]
    examples = [
        Example(first="Who found Triton?", passage=text, start=text.index("Lassell"), end=text.index("Lassell") + 7)
        for text in texts
    ]
    return encode_examples(examples, load_tokenizer(), 64, 0)
