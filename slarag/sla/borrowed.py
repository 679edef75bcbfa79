"""Cells for plans that were not measured, from those of plans that differ from them in one known way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from .backoff import Backoff
from .cells import Cell
from .plan import Plan
from .work import work


def borrowed_for_jury(plan: Plan, measured: Mapping[str, Mapping[str, Cell]], backoff: Backoff) -> dict[str, Cell]:
    """The cells of the jury's plan `plan`, by intent: those of the same replicas settled by their confidence.

    A calibration that is made with one model has measured no jury. Answers are taken to be as good, which a jury should
    not fall below; time and cost grow by what the judging adds to the work. `measured`: cells by plan key, then intent.
    """
    twin = replace(plan, arbitration="confidence")
    more = work(plan) / work(twin)
    slower = _latency_ms(plan, backoff) / _latency_ms(twin, backoff)
    return {intent: _grown(cell, plan, more, slower) for intent, cell in measured.get(twin.key, {}).items()}


def _latency_ms(plan: Plan, backoff: Backoff) -> float:
    return backoff.latency_p50_ms(plan, backoff.device_seconds(plan))


def _grown(cell: Cell, plan: Plan, more: float, slower: float) -> Cell:
    return replace(
        cell,
        plan=plan.key,
        device_seconds=cell.device_seconds * more,
        device_seconds_p95=cell.device_seconds_p95 * more,
        latency_p50_ms=cell.latency_p50_ms * slower,
        latency_p95_ms=cell.latency_p95_ms * slower,
    )
