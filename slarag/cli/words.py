"""Numbers and objectives as people read them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..sla.profile import Profile
    from ..sla.report import ObjectiveResult

MET, MISSED = "✓", "✗"
MOST_DIGITS = 12
"""More than usual, at most: a report calls a smaller miss none."""


def amount(value: float | None, unit: str, *, more: int = 0) -> str:
    """A value with its unit; `unit` is one of the report's. more: digits beyond those that people usually want."""
    if value is None:
        return "unknown"
    if unit == "ms":
        return f"{value / 1000:.{1 + more}f} s" if value >= 1000 else f"{value:.{more}f} ms"
    if unit == "usd":
        return f"{value * 1e6:.{2 + more}f} µ$" if more else dollars(value)
    if unit == "probability":
        return f"{value:.{more}%}"
    return f"{value:.{2 + more}f}"


def dollars(usd: float | None) -> str:
    """Money with the digits that matter, down to millionths: a self-hosted answer costs little."""
    if usd is None:
        return "unpriced"
    if usd == 0:
        return "$0"
    if usd >= 0.001:
        return f"${usd:.3f}" if usd < 0.1 else f"${usd:.2f}"
    return f"{usd * 1e6:.2g} µ$" if usd < 1e-5 else f"{usd * 1e6:.0f} µ$"


def verdict(result: ObjectiveResult) -> str:
    """One objective in a few words, such as `✓ latency 212 ms of 800 ms`; a miss has the digits that show it."""
    mark = MET if result.met else MISSED
    bound = "at least" if result.objective == "quality" else "of"
    value, target = _told_apart(result) if not result.met else _amounts(result)
    return f"{mark} {result.objective} {value} {bound} {target}"


def _told_apart(result: ObjectiveResult) -> tuple[str, str]:
    several = (_amounts(result, more) for more in range(MOST_DIGITS))
    return next((both for both in several if both[0] != both[1]), _amounts(result, MOST_DIGITS))


def _amounts(result: ObjectiveResult, more: int = 0) -> tuple[str, str]:
    return amount(result.value, result.unit, more=more), amount(result.target, result.unit, more=more)


def promises(profile: Profile) -> list[str]:
    """What a profile promises, one objective an entry."""
    objectives = profile.objectives
    found: list[str] = []
    if objectives.latency is not None:
        p95, deadline = objectives.latency.p95_ms, objectives.latency.deadline_ms
        found.append(f"95 % within {amount(p95, 'ms')}, all within {amount(deadline, 'ms')}")
    if objectives.cost is not None:
        found.append(f"at most {dollars(objectives.cost.usd_per_query)} a question")
    if objectives.quality is not None:
        found.append(f"F1 at least {objectives.quality.min_f1:.2f}")
    if objectives.risk is not None:
        found.append(f"at most {objectives.risk.max_wrong_answer_rate:.0%} of given answers wrong")
    return found


def shortened(text: str, limit: int) -> str:
    """`text` on one line, cut to `limit` characters at a word where one ends near."""
    line = " ".join(text.split())
    if len(line) <= limit:
        return line
    cut = line[: limit - 1]
    at_word = cut.rpartition(" ")[0]
    return (at_word if len(at_word) > limit * 2 // 3 else cut) + "…"
