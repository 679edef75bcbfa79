"""Averaging the weights of readers that go on from one another."""

from __future__ import annotations

import pytest
import torch

from slarag.backends.reader.depth import GRID
from slarag.backends.reader.dynamic_encoder import DynamicEncoder
from slarag.backends.reader.model import Reader
from slarag.backends.reader.parent import load_tokenizer
from slarag.backends.reader.store import SHIPPED, SHIPPED_DENSE, load_reader
from slarag.backends.training.encoding import encode_examples
from slarag.backends.training.soup import Ingredient, average, refit_schedule
from slarag.backends.training.sources import Example
from slarag.sla.errors import ConfigurationError


def test_the_weights_are_the_average_by_share() -> None:
    model, shipped = _trained_on(), load_reader(SHIPPED_DENSE)[0].state_dict()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    average(model, [Ingredient(reader=str(SHIPPED_DENSE), share=0.25)])
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, 0.75 * before[name] + 0.25 * shipped[name])


@pytest.mark.parametrize(
    ("ingredients", "told"),
    [
        (
            [Ingredient(reader=str(SHIPPED_DENSE), share=0.6), Ingredient(reader=str(SHIPPED_DENSE), share=0.4)],
            "no share",
        ),
        ([Ingredient(reader=str(SHIPPED), share=0.5)], "another form"),
    ],
    ids=["all given away", "another form"],
)
def test_what_cannot_be_averaged_is_refused(ingredients: list[Ingredient], told: str) -> None:
    model = _trained_on()
    before = next(model.parameters()).clone()
    with pytest.raises(ConfigurationError, match=told):
        average(model, ingredients)
    assert torch.equal(next(model.parameters()), before), "a refused average changes nothing"


def test_the_schedule_is_spread_as_the_routers_ask() -> None:
    model, _ = load_reader(SHIPPED)
    assert isinstance(model.encoder, DynamicEncoder)
    schedule = model.encoder.schedule
    even = torch.linspace(0, 1, GRID + 1).unsqueeze(1).expand_as(schedule.shares)
    schedule.shares.copy_(even)
    texts = [f"Triton is a moon that Lassell found in {year}, after Neptune." for year in range(1840, 1880)]
    examples = [
        Example(first="Who found Triton?", passage=text, start=text.index("Lassell"), end=text.index("Lassell") + 7)
        for text in texts
    ]
    refit_schedule(model, encode_examples(examples, load_tokenizer(), 64, 0), 400, 0)
    spread = schedule.shares[GRID // 2]
    assert spread.max() - spread.min() > 0.2
    assert float(spread.mean()) == pytest.approx(0.5, abs=0.01), "the whole stays within the budget"


def _trained_on() -> Reader:
    """The shipped reader, a little further on."""
    model, _ = load_reader(SHIPPED_DENSE)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.01)
    return model
