"""How a pool's state looks to a person."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

_SHOWN_RESIZES = 5
_MIB = 1 << 20


def status_view(pool: dict[str, Any], attainment: dict[str, Any]) -> tuple[RenderableType, ...]:
    """The pool as tables."""
    resizes = _resizes(pool["resizes"][-_SHOWN_RESIZES:])
    autoscale = pool.get("autoscale")
    sized = (_autoscale(autoscale),) if autoscale else ()
    return (_headline(pool, attainment), _devices(pool["workers"]), resizes, *sized)


def _headline(pool: dict[str, Any], attainment: dict[str, Any]) -> str:
    parts = [
        f"{pool['model']}: {pool['devices']} devices, {pool['standbys']} standbys",
        f"{pool['running']} running, {pool['waiting']} waiting",
        *(f"{name} within {part['objective_ms']:g} ms: {_share(part['share'])}" for name, part in attainment.items()),
        _deadlines(pool.get("deadlines")),
        f"KV cache {_share(pool['kv_cache_used'])}" if pool["kv_cache_used"] else "",
        "resizing" if pool["is_resizing"] else "",
        f"simulated {pool['simulated']}" if pool["simulated"] else "",
        f"{pool['replaced_workers']} workers replaced" if pool["replaced_workers"] else "",
    ]
    return "; ".join(part for part in parts if part)


def _deadlines(deadlines: dict[str, int] | None) -> str:
    if not deadlines or not deadlines["requests"]:
        return ""
    return f"{_share(deadlines['met'] / deadlines['requests'])} of {deadlines['requests']} deadlines met"


def _devices(rows: Sequence[dict[str, Any]]) -> Table:
    table = _table("device", "memory MiB", "of", "experts", "running", "waiting")
    for row in rows:
        memory = (_mib(row["memory_bytes"]), _mib(row["capacity_bytes"]))
        table.add_row(*map(str, (row["device"], *memory, row["experts"], row["running"], row["waiting"])))
    return table


def _resizes(rows: Sequence[dict[str, Any]]) -> Table:
    table = _table("resize", "phase", "ms", "MiB moved", "lower bound", "why not")
    for row in rows:
        size = f"{row['source']} -> {row['target']}"
        moved = (_mib(row["bytes_moved"]), _mib(row["bytes_lower_bound"]))
        table.add_row(size, row["phase"], f"{1000 * row['seconds']:.0f}", *moved, row["error"] or "")
    return table


def _autoscale(autoscale: dict[str, Any]) -> Table:
    limits = f"{autoscale['floor']} to {autoscale['ceiling']} devices"
    met = f"{_share(autoscale['attainment'])} within both objectives"
    table = _table("decision", "at", "why")
    table.caption, table.caption_justify = f"sized by {autoscale['policy']}, {limits}; {met}", "left"
    for row in autoscale["decisions"][-_SHOWN_RESIZES:]:
        table.add_row(f"{row['from']} -> {row['to']}", time.strftime("%H:%M:%S", time.localtime(row["at"])), row["why"])
    return table


def _table(*columns: str) -> Table:
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0))
    for at, column in enumerate(columns):
        table.add_column(column, justify="left" if at == 0 or column in {"phase", "why not", "why"} else "right")
    return table


def _mib(count: int | None) -> str:
    return "?" if count is None else f"{count / _MIB:.1f}"


def _share(share: float | None) -> str:
    return "nothing yet" if share is None else f"{100 * share:.1f} %"
