"""The whole benchmark: every way of resizing in one process, one after the other, and their figures."""

from __future__ import annotations

import asyncio
import os
import platform
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from .bed import Change
from .scenarios import Resized, baseline, cold_restart, elastic, middle, simulated
from .settings import ABLATION, BenchSettings, Part

SCHEMA = 1
Figures = dict[str, dict[str, Any]]
"""Value, unit, low, high and n by name."""


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


async def _figures(settings: BenchSettings) -> Figures:
    cold = await cold_restart(settings)
    figures = _cold_figures(cold)
    for part in settings.parts:
        figures |= await _part(part, settings, cold.up)
    return figures


async def _part(part: Part, settings: BenchSettings, cold: Change) -> Figures:
    if part == "resize":
        return _figures_of(await elastic(settings, settings.options(settings.size)), cold)
    if part == "no_standby":
        forked = settings.without_standby()
        return _named("no_standby_", _figures_of(await elastic(forked, forked.options(settings.size)), cold))
    if part == "simulated":
        return await _on_simulated_devices(settings)
    if part == "ablation":
        return await _ablation(replace(settings, repeats=1), cold)
    return _named(f"{part}_", _figures_of([await baseline(part, settings)], cold))


async def _on_simulated_devices(settings: BenchSettings) -> Figures:
    """Simulated devices, and where nothing else measures it, what this host's own keep of their throughput."""
    figures: Figures = {}
    if "resize" not in settings.parts:
        figures = _kept_figures(await elastic(settings, settings.options(settings.size)))
    options = replace(settings.options(settings.size), simulated=settings.simulated)
    runs, late = await simulated(settings, options)
    return figures | _named("simulated_", {**_own_figures(runs), "late_share": _figure([late], "")})


async def _ablation(settings: BenchSettings, cold: Change) -> Figures:
    figures: Figures = {}
    for number, name in enumerate(ABLATION, start=1):
        options = replace(settings.options(settings.size), without=ABLATION[:number])
        figures |= _named(f"ablation_{number}_{name}_", _figures_of(await elastic(settings, options), cold))
    return figures


def _cold_figures(cold: Resized) -> Figures:
    own = _own_figures([cold])
    for nothing in ("gap_over_p99", "scale_down_gap_over_p99"):  # no answer lasts until after it
        del own[nothing]
    return {"cold_restart_ms": own.pop("scale_up_ms"), **_named("cold_restart_", own)}


def _figures_of(runs: list[Resized], cold: Change) -> Figures:
    """A way to resize, and how it compares with a cold restart."""
    return {
        **_own_figures(runs),
        "scale_up_over_cold_restart": _figure([done.up.seconds / cold.seconds for done in runs], ""),
        "scale_down_over_cold_restart": _figure([done.down.seconds / cold.seconds for done in runs], ""),
        "peak_memory_over_cold_restart": _figure([done.up.peak_bytes / cold.peak_bytes for done in runs], ""),
    }


def _own_figures(runs: list[Resized]) -> Figures:
    failed = [done.up.failed + done.down.failed + done.long_failed for done in runs]
    return {
        "scale_up_ms": _figure([1000 * done.up.seconds for done in runs], "ms"),
        "scale_down_ms": _figure([1000 * done.down.seconds for done in runs], "ms"),
        **_kept_figures(runs),
        "gap_over_p99": _figure([done.up.gap_over_p99 for done in runs], ""),
        "scale_down_gap_over_p99": _figure([done.down.gap_over_p99 for done in runs], ""),
        "failed_requests": _figure([sum(failed)], "requests"),
        "refused_requests": _figure([sum(done.up.refused + done.down.refused for done in runs)], "requests"),
        "bytes_moved": _figure([done.bytes_moved for done in runs], "bytes"),
        "bytes_lower_bound": _figure([done.bytes_lower_bound for done in runs], "bytes"),
    }


def _kept_figures(runs: list[Resized]) -> Figures:
    return {
        "throughput_kept": _figure([done.up.throughput_kept for done in runs], ""),
        "scale_down_throughput_kept": _figure([done.down.throughput_kept for done in runs], ""),
    }


def _named(prefix: str, figures: Figures) -> Figures:
    return {prefix + name: figure for name, figure in figures.items()}


def _figure(values: Sequence[float | None], unit: str) -> dict[str, Any]:
    known = [value for value in values if value is not None]
    low, high = (min(known), max(known)) if len(known) > 1 else (None, None)
    return {"value": middle(values), "unit": unit, "low": low, "high": high, "n": len(known)}
