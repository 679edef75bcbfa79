"""The whole benchmark: every way of resizing in one process, one after the other, and their figures."""

from __future__ import annotations

import asyncio
import os
import platform
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from .bed import Change
from .scenarios import Resized, baseline, cold_restart, elastic, middle
from .settings import ABLATION, BenchSettings, Part

SCHEMA = 1


def run(settings: BenchSettings) -> dict[str, Any]:
    """The benchmark's document: machine, workload and figures (value, unit, low, high and n by name).

    A value is the median over the runs, low and high their range; None for what the load was too small to tell.
    """
    return {
        "schema": SCHEMA,
        "machine": {"cores": os.cpu_count(), "system": platform.platform(), "python": platform.python_version()},
        "workload": settings.as_workload(),
        "figures": asyncio.run(_figures(settings)),
    }


async def _figures(settings: BenchSettings) -> dict[str, Any]:
    cold = await cold_restart(settings)
    figures = {
        "cold_restart_ms": _figure([1000 * cold.seconds], "ms"),
        "cold_restart_failed_requests": _figure([cold.failed], "requests"),
    }
    for part in settings.parts:
        figures |= await _part(part, settings, cold)
    return figures


async def _part(part: Part, settings: BenchSettings, cold: Change) -> dict[str, Any]:
    if part == "resize":
        return dict(_elastic_figures(await elastic(settings, settings.options(settings.size)), cold))
    if part == "no_standby":
        forked = settings.without_standby()
        return _named("no_standby_", _up_figures(await elastic(forked, forked.options(settings.size)), cold))
    if part == "simulated":
        return await _on_simulated_devices(settings)
    if part == "ablation":
        return await _ablation(replace(settings, repeats=1), cold)
    return _named(f"{part}_", _change_figures([await baseline(part, settings)], cold))


async def _on_simulated_devices(settings: BenchSettings) -> dict[str, Any]:
    if settings.simulated is None:
        return {}
    options = replace(settings.options(settings.size), simulated=settings.simulated)
    return _named("simulated_", _simulated_figures(await elastic(settings, options)))


async def _ablation(settings: BenchSettings, cold: Change) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    for number, name in enumerate(ABLATION, start=1):
        options = replace(settings.options(settings.size), without=ABLATION[:number])
        figures |= _named(f"ablation_{number}_{name}_", _up_figures(await elastic(settings, options), cold))
    return figures


def _elastic_figures(runs: list[Resized], cold: Change) -> Iterator[tuple[str, dict[str, Any]]]:
    downs = [done.down for done in runs]
    yield from _up_figures(runs, cold).items()
    yield "scale_down_ms", _figure([1000 * down.seconds for down in downs], "ms")
    yield "scale_down_over_cold_restart", _figure([down.seconds / cold.seconds for down in downs], "")
    yield "scale_down_gap_over_p99", _figure([down.gap_over_p99 for down in downs], "")
    failed = sum(done.up.failed + done.down.failed + done.long_failed for done in runs)
    refused = sum(done.up.refused + done.down.refused for done in runs)
    yield "failed_requests", _figure([failed], "requests")
    yield "refused_requests", _figure([refused], "requests")
    yield "bytes_moved", _figure([done.up_status.bytes_moved for done in runs], "bytes")
    yield "bytes_lower_bound", _figure([done.up_status.bytes_lower_bound for done in runs], "bytes")


def _simulated_figures(runs: list[Resized]) -> dict[str, dict[str, Any]]:
    return {
        "throughput_kept": _figure([done.up.throughput_kept for done in runs], ""),
        "scale_down_throughput_kept": _figure([done.down.throughput_kept for done in runs], ""),
        "gap_over_p99": _figure([done.up.gap_over_p99 for done in runs], ""),
        "scale_up_ms": _figure([1000 * done.up.seconds for done in runs], "ms"),
        "failed_requests": _figure([sum(d.up.failed + d.down.failed + d.long_failed for d in runs)], "requests"),
    }


def _up_figures(runs: list[Resized], cold: Change) -> dict[str, dict[str, Any]]:
    return _change_figures([done.up for done in runs], cold)


def _change_figures(changes: list[Change], cold: Change) -> dict[str, dict[str, Any]]:
    return {
        "scale_up_ms": _figure([1000 * change.seconds for change in changes], "ms"),
        "scale_up_over_cold_restart": _figure([change.seconds / cold.seconds for change in changes], ""),
        "throughput_kept": _figure([change.throughput_kept for change in changes], ""),
        "gap_over_p99": _figure([change.gap_over_p99 for change in changes], ""),
        "peak_memory_over_cold_restart": _figure([change.peak_bytes / cold.peak_bytes for change in changes], ""),
        "scale_up_failed_requests": _figure([sum(change.failed for change in changes)], "requests"),
    }


def _named(prefix: str, figures: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {prefix + name: figure for name, figure in figures.items()}


def _figure(values: Sequence[float | None], unit: str) -> dict[str, Any]:
    known = [value for value in values if value is not None]
    low, high = (min(known), max(known)) if len(known) > 1 else (None, None)
    return {"value": middle(values), "unit": unit, "low": low, "high": high, "n": len(known)}
