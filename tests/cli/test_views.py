"""How values are said to people."""

from __future__ import annotations

import pytest

from slarag.cli.graph_view import graph_view, lanes
from slarag.cli.streams import printable, show
from slarag.cli.words import amount, dollars, shortened, verdict
from slarag.sla.plan import Plan
from slarag.sla.report import ObjectiveName, ObjectiveResult, Unit


@pytest.mark.parametrize(
    ("usd", "said"),
    [(None, "unpriced"), (0.0, "$0"), (2e-6, "2 µ$"), (0.000123, "123 µ$"), (0.0123, "$0.012"), (1.5, "$1.50")],
)
def test_money(usd: float | None, said: str) -> None:
    assert dollars(usd) == said


@pytest.mark.parametrize(
    ("value", "unit", "said"),
    [(212.4, "ms", "212 ms"), (1234.0, "ms", "1.2 s"), (0.153, "probability", "15%"), (0.5, "f1", "0.50")],
)
def test_amounts(value: float, unit: str, said: str) -> None:
    assert amount(value, unit) == said


@pytest.mark.parametrize(
    ("objective", "value", "target", "unit", "said"),
    [
        ("quality", 0.3481, 0.35, "f1", "✗ quality 0.348 at least 0.350"),
        ("quality", 0.3521, 0.35, "f1", "✓ quality 0.35 at least 0.35"),
        ("quality", 0.2, 0.35, "f1", "✗ quality 0.20 at least 0.35"),
        ("latency", 1203.0, 1200.0, "ms", "✗ latency 1.203 s of 1.200 s"),
        ("latency", 400.3, 400.0, "ms", "✗ latency 400.3 ms of 400.0 ms"),
        ("risk", 0.1504, 0.15, "probability", "✗ risk 15.04% of 15.00%"),
        ("cost", 2.04e-5, 2e-5, "usd", "✗ cost 20.400 µ$ of 20.000 µ$"),
        ("cost", None, 2e-5, "usd", "✗ cost unknown of 20 µ$"),
    ],
)
def test_a_miss_has_the_digits_that_show_it(
    objective: ObjectiveName, value: float | None, target: float, unit: Unit, said: str
) -> None:
    met = said.startswith("✓")
    result = ObjectiveResult(objective=objective, target=target, value=value, met=met, margin=None, unit=unit)
    assert verdict(result) == said


def test_long_text_is_cut_at_a_word() -> None:
    assert shortened("one two\nthree four", 14) == "one two three…"
    assert shortened("short", 14) == "short"


def test_control_characters_do_not_reach_the_terminal() -> None:
    assert printable("a\x1b[2Jb\x07\nc") == "a [2Jb \nc"


def test_a_chain_is_one_line() -> None:
    edges = [("__start__", "retriever"), ("retriever", "verifier"), ("verifier", "__end__")]
    assert lanes(edges) == "question ─▶ retriever ─▶ verifier ─▶ answer"


def test_replicas_are_lanes() -> None:
    edges = [("__start__", "a"), ("__start__", "b1"), ("b1", "b2"), ("a", "arbiter"), ("b2", "arbiter")]
    assert lanes([*edges, ("arbiter", "__end__")]).splitlines() == [
        "         ┌ a        ┐",
        "question └ b1 ─▶ b2 ┘ ─▶ arbiter ─▶ answer",
    ]


def test_a_drawing_wider_than_the_terminal_keeps_its_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    drawing = graph_view(Plan(replicas=3, arbitration="majority", hops=2))
    show(drawing)
    assert capsys.readouterr().out.rstrip("\n") == drawing.plain


def test_two_plans_draw_two_graphs() -> None:
    small = graph_view(Plan()).plain
    large = graph_view(Plan(replicas=3, arbitration="majority", hops=2, verification="support")).plain
    assert small != large
    assert len(large.splitlines()) > len(small.splitlines())
    assert "arbiter_majority ─▶ verifier_support ─▶ answer" in large
