"""The report as one HTML page that needs no other file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from . import plots
from .intervals import Figure
from .outcome import Measurement
from .report import Report

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 76rem; padding: 0 1rem; color: #1c1f24; }
h1 { font-size: 1.6rem; margin-bottom: 0.2rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 0.25rem 0.8rem; text-align: right; border-bottom: 1px solid #e3e6ea; }
th:first-child, td:first-child { text-align: left; } small { color: #68707c; }
.plots { display: flex; flex-wrap: wrap; gap: 1.2rem; } figure { margin: 0; max-width: 36rem; }
svg { width: 100%; height: auto; }
.scroll { overflow-x: auto; } .missing { color: #9aa1ab; }
""".strip()

_MILLISECONDS = ("latency_p50_ms", "latency_p95_ms")
_AMOUNTS = (*_MILLISECONDS, "usd_per_query", "device_seconds_per_query", "goodput_qps")


def page(report: Report, measured: Sequence[Measurement]) -> str:
    """The page: figures with their intervals, plots, a table by intent, failures, and what it was measured with."""
    by_profile = {name: [m for m in measured if m.profile == name] for name in report.profiles}
    filled = {name: found for name, found in by_profile.items() if found}
    title = f"Evaluation of {report.data['name']}"
    body = (
        f"<h1>{escape(title)}</h1><p><small>{escape(_subtitle(report))}</small></p>"
        f"<h2>Figures</h2>{_figures(report.profiles)}"
        f"<p><small>95 % intervals in brackets. Scores and shares in per cent. A dash: not measured.</small></p>"
        f"<h2>Plots</h2><div class=plots>{_plots(report, filled)}</div>"
        f"<h2>By intent</h2>{_intents(report)}"
        f"<h2>Failures</h2>{_failures(report)}"
        f"<h2>Measured with</h2>{_facts({**report.settings, **report.machine, **report.versions})}"
    )
    head = f"<meta charset=utf-8><meta name=viewport content='width=device-width'><title>{escape(title)}</title>"
    return f"<!doctype html><html lang=en><head>{head}<style>{_STYLE}</style></head><body>{body}</body></html>\n"


def _subtitle(report: Report) -> str:
    data = report.data
    where = "its own passages" if report.settings["mode"] == "reading" else "retrieval"
    return (
        f"{data['questions']} of {data['questions_in_file']} questions, {data['answerable']} answerable, "
        f"{data['unanswerable']} not; {where}; seed {report.settings['seed']}; sha256 {str(data['sha256'])[:16]}"
    )


def _figures(profiles: Mapping[str, Mapping[str, Figure]]) -> str:
    names = dict.fromkeys(name for values in profiles.values() for name in values)
    rows = [[name, *(_cell(name, values.get(name)) for values in profiles.values())] for name in names]
    return _table(["", *map(escape, profiles)], rows)


def _intents(report: Report) -> str:
    return "".join(
        f"<h3>{escape(profile)}</h3>" + _table(["", "n", *_columns(tables)], _intent_rows(tables))
        for profile, tables in report.intents.items()
        if tables
    )


def _columns(tables: Mapping[str, Mapping[str, Figure]]) -> list[str]:
    return list(next(iter(tables.values())))


def _intent_rows(tables: Mapping[str, Mapping[str, Figure]]) -> list[list[str]]:
    return [
        [escape(intent), str(values["answered_share"].n), *(_cell(name, figure) for name, figure in values.items())]
        for intent, values in tables.items()
    ]


def _plots(report: Report, measured: Mapping[str, Sequence[Measurement]]) -> str:
    drawn = {
        "Quality over latency": plots.frontier(report),
        "Reliability": plots.reliability(measured),
        "Risk over coverage": plots.risk_coverage(measured),
        "Latency": plots.latencies(measured),
    }
    return "".join(f"<figure><figcaption>{name}</figcaption>{svg}</figure>" for name, svg in drawn.items())


def _failures(report: Report) -> str:
    rows = [
        [escape(profile), escape(code), str(count)]
        for profile, codes in report.failures.items()
        for code, count in codes.items()
    ]
    return _table(["profile", "code", "questions"], rows) if rows else "<p>None.</p>"


def _facts(facts: Mapping[str, object]) -> str:
    return _table(["", ""], [[escape(name), escape(str(value))] for name, value in facts.items()])


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    cells = "".join(f"<th>{cell}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<div class=scroll><table><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table></div>"


def _cell(name: str, figure: Figure | None) -> str:
    if figure is None or figure.value is None or figure.low is None or figure.high is None:
        return "<span class=missing>-</span>"
    low, value, high = (_number(name, number) for number in (figure.low, figure.value, figure.high))
    return f"{value} <small>[{low}, {high}]</small>"


def _number(name: str, value: float) -> str:
    if name not in _AMOUNTS:
        return f"{100 * value:.1f}"
    return f"{value:.0f}" if name in _MILLISECONDS else f"{value:.3g}"
