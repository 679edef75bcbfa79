"""What the pool counts, in the text format of Prometheus and under vLLM's names, so that one reader reads both."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, fields

# The upper bounds of vLLM's buckets, so that its dashboards and drivers read this pool as well.
FIRST_TOKEN_S = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0),
    *(2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0, 160.0),
)
BETWEEN_TOKENS_S = (
    *(0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0),
    *(2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0),
)


class Histogram:
    """Counts of seconds, cumulative as Prometheus wants them when printed. bounds: of its buckets, rising."""

    def __init__(self, bounds: Sequence[float] = FIRST_TOKEN_S) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        """Count one duration."""
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.total += seconds

    def lines(self, name: str) -> list[str]:
        """As text."""
        lines = [f"# TYPE {name} histogram"]
        cumulative = 0
        for bound, count in zip((*map(str, self.bounds), "+Inf"), self.counts, strict=True):
            cumulative += count
            lines.append(f'{name}_bucket{{le="{bound}"}} {cumulative}')
        return [*lines, f"{name}_sum {self.total:.6f}", f"{name}_count {cumulative}"]


@dataclass(slots=True)
class Metrics:
    """Totals since the start. finished: requests by reason. rejected: requests refused because too many waited.

    rebalances: how often hot experts got other copies.
    with_deadline: requests that had one and whose client stayed; met_deadline: those that were whole by then.
    full_tokens: prompt tokens, each counted as the share of the full model's compute that it was read with.
    compute_level: the share of what they ask for that readings get at this moment.
    """

    time_to_first_token: Histogram = field(default_factory=Histogram)
    inter_token_latency: Histogram = field(default_factory=lambda: Histogram(BETWEEN_TOKENS_S))
    time_per_output_token: Histogram = field(default_factory=lambda: Histogram(BETWEEN_TOKENS_S))
    prompt_tokens: int = 0
    cached_tokens: int = 0
    generation_tokens: int = 0
    finished: Counter[str] = field(default_factory=Counter[str])
    rejected: int = 0
    rebalances: int = 0
    with_deadline: int = 0
    met_deadline: int = 0
    device_seconds: float = 0.0
    full_tokens: float = 0.0
    compute_level: float = 1.0

    def reset(self) -> None:
        """Count from zero again, as after a measurement."""
        fresh = Metrics()
        for each in fields(self):
            setattr(self, each.name, getattr(fresh, each.name))

    def end(self, reason: str, *, has_deadline: bool) -> None:
        """Count a request that is over. One whose client left says nothing of its deadline."""
        self.finished[reason] += 1
        if has_deadline and reason != "cancelled":
            self.with_deadline += 1
            self.met_deadline += reason not in {"deadline", "failed"}

    def text(self, gauges: dict[str, float]) -> str:
        """All of it as text; `gauges` are the values of this moment by name."""
        lines: list[str] = []
        for name, value in {**gauges, "slarag:compute_level": self.compute_level}.items():
            lines += [f"# TYPE {name} gauge", f"{name} {value:g}"]
        counters = {
            "vllm:prompt_tokens_total": self.prompt_tokens,
            "vllm:generation_tokens_total": self.generation_tokens,
            "slarag:cached_prompt_tokens_total": self.cached_tokens,
            "slarag:requests_rejected_total": self.rejected,
            "slarag:rebalances_total": self.rebalances,
            "slarag:requests_with_deadline_total": self.with_deadline,
            "slarag:deadlines_met_total": self.met_deadline,
            "slarag:device_seconds_total": self.device_seconds,
            "slarag:full_compute_tokens_total": self.full_tokens,
        }
        for name, value in counters.items():
            lines += [f"# TYPE {name} counter", f"{name} {value:g}"]
        lines.append("# TYPE vllm:request_success_total counter")
        lines += [f'vllm:request_success_total{{finished_reason="{why}"}} {n}' for why, n in self.finished.items()]
        lines += self.time_to_first_token.lines("vllm:time_to_first_token_seconds")
        lines += self.inter_token_latency.lines("vllm:inter_token_latency_seconds")
        lines += self.time_per_output_token.lines("vllm:request_time_per_output_token_seconds")
        return "\n".join(lines) + "\n"
