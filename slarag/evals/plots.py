"""Plots of an evaluation as SVG text, drawn without a display and the same for the same numbers."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .intervals import Figure
from .outcome import Measurement
from .report import Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#3b6fb6", "#d1702c", "#4c9a5b", "#a1478f", "#7a6a4f", "#c23b4e")
BINS = 10


def frontier(report: Report) -> str:
    """F1 over the 95th percentile of the latency, a point for each profile with its intervals."""

    def draw(axes: Axes) -> None:
        for at, (name, values) in enumerate(report.profiles.items()):
            across, up = values["latency_p95_ms"], values["f1"]
            if across.value is None or up.value is None:
                continue
            axes.errorbar(
                across.value,
                up.value,
                xerr=_reach(across),
                yerr=_reach(up),
                fmt="o",
                color=COLOURS[at % len(COLOURS)],
                capsize=3,
                label=name,
            )
        axes.set_xscale("log")
        axes.set(xlabel="latency p95, ms", ylabel="F1")
        _legend(axes)

    return _svg(draw)


def reliability(by_profile: Mapping[str, Sequence[Measurement]]) -> str:
    """How often answers of a stated confidence were right, in ten bins."""

    def draw(axes: Axes) -> None:
        axes.plot((0, 1), (0, 1), color="#999999", linewidth=1, linestyle="--")
        for at, (name, measured) in enumerate(by_profile.items()):
            stated, right = _reliability_points(measured)
            axes.plot(stated, right, marker="o", color=COLOURS[at % len(COLOURS)], label=name)
        axes.set(xlabel="stated confidence", ylabel="share right", xlim=(0, 1), ylim=(0, 1))
        _legend(axes)

    return _svg(draw)


def risk_coverage(by_profile: Mapping[str, Sequence[Measurement]]) -> str:
    """Share of wrong ones among the most confident answers, over how many of the questions they are."""

    def draw(axes: Axes) -> None:
        for at, (name, measured) in enumerate(by_profile.items()):
            coverage, risk = risk_coverage_points(measured)
            axes.plot(coverage, risk, color=COLOURS[at % len(COLOURS)], label=name)
        axes.set(xlabel="coverage", ylabel="share wrong", xlim=(0, 1), ylim=(0, 1))
        _legend(axes)

    return _svg(draw)


def latencies(by_profile: Mapping[str, Sequence[Measurement]]) -> str:
    """Histogram of the latencies on a logarithmic axis."""

    def draw(axes: Axes) -> None:
        every = [m.timing.latency_ms for measured in by_profile.values() for m in measured]
        low, high = max(min(every), 0.1), max(*every, 0.2)
        edges = np.geomspace(low * 0.95, high * 1.05, 40).tolist()
        for at, (name, measured) in enumerate(by_profile.items()):
            values = [m.timing.latency_ms for m in measured]
            axes.hist(values, bins=edges, histtype="step", linewidth=1.5, color=COLOURS[at % len(COLOURS)], label=name)
        axes.set_xscale("log")
        axes.set(xlabel="latency, ms", ylabel="questions")
        _legend(axes)

    return _svg(draw)


def risk_coverage_points(measured: Sequence[Measurement]) -> tuple[list[float], list[float]]:
    """Coverage and risk as ever less confident answers are given; ties in confidence are given together."""
    keyed = sorted((m for m in measured if m.scores.correct is not None), key=lambda m: -m.confidence)
    coverage: list[float] = []
    risk: list[float] = []
    wrong = 0
    for count, m in enumerate(keyed, start=1):
        wrong += not m.scores.correct
        if count == len(keyed) or keyed[count].confidence != m.confidence:
            coverage.append(count / len(keyed))
            risk.append(wrong / count)
    return coverage, risk


def _reliability_points(measured: Sequence[Measurement]) -> tuple[list[float], list[float]]:
    keyed = [m for m in measured if m.scores.correct is not None]
    stated = np.array([m.confidence for m in keyed])
    right = np.array([bool(m.scores.correct) for m in keyed], dtype=np.float64)
    at = np.minimum((stated * BINS).astype(np.intp), BINS - 1)
    filled = [b for b in range(BINS) if (at == b).any()]
    return [float(stated[at == b].mean()) for b in filled], [float(right[at == b].mean()) for b in filled]


def _reach(figure: Figure) -> list[list[float]] | None:
    if figure.value is None or figure.low is None or figure.high is None:
        return None
    return [[max(0.0, figure.value - figure.low)], [max(0.0, figure.high - figure.value)]]


def _legend(axes: Axes) -> None:
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False)


def _svg(draw: Callable[[Axes], Any]) -> str:
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure as Canvas

    # A fixed salt and no date, so that one report gives one file.
    with mpl.rc_context(
        {"svg.hashsalt": "slarag", "font.size": 10, "axes.spines.top": False, "axes.spines.right": False}
    ):
        canvas = Canvas(figsize=(5.6, 3.6), layout="constrained")
        FigureCanvasSVG(canvas)
        draw(canvas.add_subplot())
        text = io.StringIO()
        canvas.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()[text.getvalue().index("<svg") :]
