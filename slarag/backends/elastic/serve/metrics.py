"""What the pool counts, in the text format of Prometheus and under vLLM's names, so that one reader reads both."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field

_SECONDS = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 30.0, 60.0)


@dataclass(slots=True)
class Histogram:
    """Counts of seconds, cumulative as Prometheus wants them when printed."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(_SECONDS) + 1))
    total: float = 0.0

    def observe(self, seconds: float) -> None:
        """Count one duration."""
        self.counts[bisect_left(_SECONDS, seconds)] += 1
        self.total += seconds

    def lines(self, name: str) -> list[str]:
        """As text."""
        lines = [f"# TYPE {name} histogram"]
        cumulative = 0
        for bound, count in zip((*map(str, _SECONDS), "+Inf"), self.counts, strict=True):
            cumulative += count
            lines.append(f'{name}_bucket{{le="{bound}"}} {cumulative}')
        return [*lines, f"{name}_sum {self.total:.6f}", f"{name}_count {cumulative}"]


@dataclass(slots=True)
class Metrics:
    """Totals since the start. finished: requests by reason. rejected: requests refused because too many waited.

    full_tokens: prompt tokens, each counted as the share of the full model's compute that it was read with.
    compute_level: the share of what they ask for that readings get at this moment.
    """

    time_to_first_token: Histogram = field(default_factory=Histogram)
    inter_token_latency: Histogram = field(default_factory=Histogram)
    time_per_output_token: Histogram = field(default_factory=Histogram)
    prompt_tokens: int = 0
    cached_tokens: int = 0
    generation_tokens: int = 0
    finished: Counter[str] = field(default_factory=Counter[str])
    rejected: int = 0
    device_seconds: float = 0.0
    full_tokens: float = 0.0
    compute_level: float = 1.0

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
