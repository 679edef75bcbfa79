"""Samples in the text format of Prometheus."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

_SAMPLE = re.compile(r"^([a-zA-Z_:][\w:]*)(?:\{([^}]*)\})? ([-+.\deE]+|\+Inf|NaN)$", re.MULTILINE)
_BOUND = re.compile(r'(?:^|,)\s*le="([^"]+)"')
_BUCKET = "_bucket"


@dataclass(frozen=True, slots=True)
class Samples:
    """What a server counts. totals: by name, labels added up. buckets: of histograms, count by upper bound.

    series: by name, how many have labels of their own; an engine of vLLM has its own.
    """

    totals: Mapping[str, float] = field(default_factory=dict[str, float])
    buckets: Mapping[str, Mapping[float, float]] = field(default_factory=dict[str, dict[float, float]])
    series: Mapping[str, int] = field(default_factory=dict[str, int])

    @classmethod
    def read(cls, text: str) -> Samples:
        """Read a page of metrics; lines that are no samples are passed over."""
        totals: dict[str, float] = {}
        buckets: dict[str, dict[float, float]] = {}
        series: Counter[str] = Counter()
        for name, labels, value in _SAMPLE.findall(text):
            bound = _BOUND.search(labels)
            if bound and name.endswith(_BUCKET):
                counts = buckets.setdefault(name.removesuffix(_BUCKET), {})
                counts[float(bound[1])] = counts.get(float(bound[1]), 0.0) + float(value)
            else:
                totals[name] = totals.get(name, 0.0) + float(value)
                series[name] += 1
        return cls(totals, buckets, series)

    def get(self, name: str) -> float:
        """A sample, 0 where there is none."""
        return self.totals.get(name, 0.0)

    def mean(self, name: str) -> float:
        """A sample's mean over all that have it, 0 where there is none."""
        return self.get(name) / max(1, self.series.get(name, 0))

    def since(self, before: Samples, name: str) -> float:
        """A counter's increase; one that is lower than before was set back, and all of it is new."""
        return _increase(before.get(name), self.get(name))

    def share_within(self, before: Samples, histogram: str, seconds: float) -> float | None:
        """The share of what was counted since `before` that took up to `seconds`; None where nothing was.

        Between the bounds of two buckets it is taken to be spread evenly.
        """
        now, then = self.buckets.get(histogram, {}), before.buckets.get(histogram, {})
        counts = [(bound, _increase(then.get(bound, 0.0), count)) for bound, count in sorted(now.items())]
        total = counts[-1][1] if counts else 0.0
        return _within(counts, seconds) / total if total > 0 else None


def _within(counts: list[tuple[float, float]], seconds: float) -> float:
    low, below = 0.0, 0.0
    for bound, count in counts:
        if seconds < bound:
            inside = 0.0 if bound == float("inf") else (seconds - low) / (bound - low)
            return below + inside * (count - below)
        low, below = bound, count
    return below


def _increase(before: float, now: float) -> float:
    return now - before if now >= before else now
