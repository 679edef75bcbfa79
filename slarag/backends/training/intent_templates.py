"""Questions written for this project, from `intent_templates.yaml`."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from ...sla.intents import INTENTS
from .intent_sources import Question

_FILE = Path(__file__).with_suffix(".yaml")
_ORDERS = ("list", "name", "explain", "describe", "summari", "enumerate", "discuss", "compare")


def own_questions(per_intent: int, seed: int = 0) -> Iterator[Question]:
    """At most `per_intent` distinct questions of each intent, their slots filled with `seed`."""
    raw = _raw()
    for intent in INTENTS:
        rng = random.Random(f"{seed}/{intent}")
        forms = raw["templates"][intent]
        texts = sorted({_filled(forms[i % len(forms)], raw["slots"], rng) for i in range(per_intent)})
        yield from (Question(text, intent, "own", "own") for text in texts)


@cache
def _raw() -> dict[str, Any]:
    return yaml.safe_load(_FILE.read_text(encoding="utf-8"))


def _filled(form: str, slots: Mapping[str, list[str]], rng: random.Random) -> str:
    """Written as people do: with or without a capital letter and a question mark."""
    text = re.sub(r"\{(\w+)\}", lambda slot: rng.choice(slots[slot[1]]), form)
    text = text[0].upper() + text[1:] if rng.random() < 0.6 else text
    asks = not text.lower().startswith(_ORDERS)
    return text + "?" if asks and rng.random() < 0.6 else text
