"""One decision for a person: the plan, why it, what it was chosen over."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from rich.console import Group
from rich.table import Column, Table
from rich.text import Text

from .words import amount, dollars

if TYPE_CHECKING:
    from ..sla.decision import Decision
    from ..sla.intents import IntentPrediction
    from ..sla.prediction import Estimate, Prediction

SHOWN = 6


def decision_view(intent: IntentPrediction, decision: Decision) -> Group:
    """The chosen plan and its reason, then the nearest alternatives on both sides of the objectives."""
    offer = "nearest offer, no plan meets every objective" if decision.is_nearest_offer else "meets every objective"
    head = Text(decision.plan.key, style="bold").append(f"  ({offer})\n{decision.reason}", style="not bold")
    likely = sorted(intent.probabilities.items(), key=lambda entry: -entry[1])[:3]
    intents = Text("intent: " + ", ".join(f"{name} {share:.0%}" for name, share in likely))
    return Group(head, intents, Text(""), _table(decision), _rest(decision))


def _table(decision: Decision) -> Table:
    # Plans differ at the ends of their names too, so nothing may be cut.
    titles = ("plan", "", "F1", "wrong answers", "p95 latency", "cost")
    table = Table(*(Column(title, overflow="fold") for title in titles))
    chosen = decision.plan.key
    table.add_row(Text(chosen, style="bold"), "chosen", *_cells(decision.prediction))
    others = [option for option in decision.feasible if option.plan.key != chosen]
    for option in others[:SHOWN]:
        table.add_row(option.plan.key, "feasible", *_cells(option.prediction))
    for rejection in [one for one in decision.rejected if one.plan.key != chosen][:SHOWN]:
        table.add_row(
            rejection.plan.key, Text(f"misses {rejection.objective}", style="red"), *_cells(rejection.prediction)
        )
    return table


def _rest(decision: Decision) -> Text:
    missed = Counter(rejection.objective for rejection in decision.rejected)
    counts = ", ".join(f"{count} by {objective}" for objective, count in missed.most_common())
    rejected = f"{len(decision.rejected)} rejected{f' ({counts})' if counts else ''}"
    binding = f"; binding objective: {decision.binding}" if decision.binding else "; no objective bound"
    return Text(f"{len(decision.feasible)} plans feasible, {rejected}{binding}")


def _cells(prediction: Prediction) -> tuple[str, ...]:
    return (
        _interval(prediction.f1, 2),
        f"{prediction.wrong_answer_rate.mean:.0%} (≤ {prediction.wrong_answer_rate.high:.0%})",
        f"{amount(prediction.latency_ms.mean, 'ms')} (≤ {amount(prediction.latency_ms.high, 'ms')})",
        f"{dollars(prediction.usd.mean)} (≤ {dollars(prediction.usd.high)})",
    )


def _interval(estimate: Estimate, digits: int) -> str:
    return f"{estimate.mean:.{digits}f} ({estimate.low:.{digits}f}–{estimate.high:.{digits}f})"
