"""Paired comparison of two evaluations of the same questions."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..sla.errors import DataError
from .folder import ITEMS, SETTINGS, read_outcomes, read_settings
from .intervals import Figure, mean
from .outcome import Failure, Measurement, Outcome

SCHEMA = 1
RESAMPLES = 10_000
_POWER_Z = 1.959963984540054 + 0.8416212335729143  # two-sided 5 % level, 80 % power

Vector = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class PairedMean:
    """The difference of a mean, B minus A, over the questions that both measured.

    difference: with its 95 % bootstrap interval. p: of a two-sided permutation test that swaps within pairs.
    detectable: the smallest true difference that so many pairs would show at the 5 % level in 80 % of repetitions.
    """

    a: float
    b: float
    difference: Figure
    p: float
    detectable: float


@dataclass(frozen=True, kw_only=True, slots=True)
class McNemar:
    """Wrong answers of one side only, and the exact two-sided p that both sides err equally often (McNemar, 1947)."""

    only_a: int
    only_b: int
    both: int
    p: float


@dataclass(frozen=True, kw_only=True, slots=True)
class PairedProfiles:
    """Profile `profile_a` of A against `profile_b` of B.

    pairs: questions that both measured; only_a, only_b: that one alone measured; failed_a, failed_b: that failed.
    f1_forced is None without answerable questions, all three without an answer key.
    """

    profile_a: str
    profile_b: str
    pairs: int
    only_a: int
    only_b: int
    failed_a: int
    failed_b: int
    f1: PairedMean | None
    f1_forced: PairedMean | None
    wrong_answers: McNemar | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Two evaluation folders side by side."""

    a: str
    b: str
    profiles: tuple[PairedProfiles, ...]

    def to_dict(self) -> dict[str, Any]:
        """The comparison as plain JSON values."""
        return {"schema": SCHEMA, "a": self.a, "b": self.b, "profiles": [asdict(pair) for pair in self.profiles]}

    def table(self) -> str:
        """Sentences for people, scores in points of 100."""
        return "\n".join(line for pair in self.profiles for line in _sentences(pair))


def compare(
    a: Path, b: Path, *, profile_a: str | None = None, profile_b: str | None = None, seed: int = 0
) -> Comparison:
    """Compare two evaluation folders (or files in them), joined by question id.

    Profiles of one name are compared with each other; naming two compares those, also within one folder.
    Raises `DataError` when a folder holds no outcomes, the data differ, or nothing is left to pair.
    """
    held_a, held_b = _read(a), _read(b)
    _refuse_other_data(a, b)
    pairs = _profile_pairs(held_a, held_b, profile_a, profile_b)
    if not pairs:
        raise DataError(
            f"{a} (profiles {sorted(held_a)}) and {b} (profiles {sorted(held_b)}) share no profile",
            remedy="name one of each with --profile-a and --profile-b",
        )
    compared = tuple(_pair(one, held_a[one], other, held_b[other], seed) for one, other in pairs)
    return Comparison(a=str(a), b=str(b), profiles=compared)


Outcomes = dict[str, Outcome]


def _read(path: Path) -> dict[str, Outcomes]:
    folder = _folder(path)
    found: dict[str, Outcomes] = {}
    for outcome in read_outcomes(folder):
        found.setdefault(outcome.profile, {})[outcome.item_id] = outcome
    if not found:
        raise DataError(f"{path} holds no {ITEMS}", remedy="give a folder that `slarag eval --out` wrote")
    return found


def _folder(path: Path) -> Path:
    return path.parent if path.is_file() else path


def _refuse_other_data(a: Path, b: Path) -> None:
    data = [_digest(_folder(path)) for path in (a, b)]
    if None not in data and data[0] != data[1]:
        raise DataError(f"{a} and {b} evaluated different question files", remedy="evaluate both on the same --data")


def _digest(folder: Path) -> str | None:
    return read_settings(folder / SETTINGS).get("data")


def _profile_pairs(
    a: Mapping[str, Outcomes], b: Mapping[str, Outcomes], profile_a: str | None, profile_b: str | None
) -> list[tuple[str, str]]:
    if profile_a is None and profile_b is None:
        shared = [(name, name) for name in a if name in b]
        return shared or ([(*a, *b)] if len(a) == len(b) == 1 else [])  # pyright: ignore[reportReturnType]
    one, other = profile_a or profile_b or "", profile_b or profile_a or ""
    for name, held in ((one, a), (other, b)):
        if name not in held:
            raise DataError(f"no profile {name!r} was evaluated", remedy=f"name one of {sorted(held)}")
    return [(one, other)]


def _pair(name_a: str, a: Outcomes, name_b: str, b: Outcomes, seed: int) -> PairedProfiles:
    measured_a, measured_b = _measured(a), _measured(b)
    joined = [(measured_a[item], measured_b[item]) for item in measured_a if item in measured_b]
    if not joined:
        raise DataError(
            f"profiles {name_a!r} and {name_b!r} have no question in common",
            remedy="evaluate both with the same --data, --limit and --seed",
        )
    return PairedProfiles(
        profile_a=name_a,
        profile_b=name_b,
        pairs=len(joined),
        only_a=len(measured_a) - len(joined),
        only_b=len(measured_b) - len(joined),
        failed_a=sum(isinstance(outcome, Failure) for outcome in a.values()),
        failed_b=sum(isinstance(outcome, Failure) for outcome in b.values()),
        f1=_paired_mean(joined, lambda m: m.scores.f1, seed),
        f1_forced=_paired_mean(joined, lambda m: m.scores.f1_forced, seed),
        wrong_answers=_mcnemar(joined),
    )


def _measured(outcomes: Outcomes) -> dict[str, Measurement]:
    return {name: outcome for name, outcome in outcomes.items() if isinstance(outcome, Measurement)}


Joined = Sequence[tuple[Measurement, Measurement]]


def _paired_mean(joined: Joined, of: Callable[[Measurement], float | None], seed: int) -> PairedMean | None:
    scores = [(of(a), of(b)) for a, b in joined]
    kept = np.array([(a, b) for a, b in scores if a is not None and b is not None], dtype=np.float64)
    if not len(kept):
        return None
    difference = kept[:, 1] - kept[:, 0]
    return PairedMean(
        a=float(kept[:, 0].mean()),
        b=float(kept[:, 1].mean()),
        difference=mean(difference.tolist(), seed=seed),
        p=_permutation_p(difference, seed),
        detectable=_detectable(difference),
    )


def _permutation_p(difference: Vector, seed: int) -> float:
    # Pairs without a difference are the same under any swap, so leaving them out changes nothing but the time.
    changed = difference[difference != 0]
    if not len(changed):
        return 1.0
    if len(changed) == 1:
        return 1.0  # either sign is as extreme as the other
    from scipy.stats import permutation_test

    result = permutation_test(
        (changed,),
        lambda sample, axis: sample.sum(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=max(1, 4_000_000 // len(changed)),
        rng=np.random.default_rng(seed),
    )
    return float(result.pvalue)


def _detectable(difference: Vector) -> float:
    n = len(difference)
    return _POWER_Z * float(difference.std(ddof=1)) / math.sqrt(n) if n > 1 else math.inf


def _mcnemar(joined: Joined) -> McNemar | None:
    from scipy.stats import binomtest

    keyed = [(bool(a.scores.wrong), bool(b.scores.wrong)) for a, b in joined if a.scores.wrong is not None]
    if not keyed:
        return None
    only_a = sum(a and not b for a, b in keyed)
    only_b = sum(b and not a for a, b in keyed)
    discordant = only_a + only_b
    p = float(binomtest(only_a, discordant).pvalue) if discordant else 1.0
    return McNemar(only_a=only_a, only_b=only_b, both=sum(a and b for a, b in keyed), p=p)


def _sentences(pair: PairedProfiles) -> list[str]:
    name = pair.profile_a if pair.profile_a == pair.profile_b else f"{pair.profile_a} -> {pair.profile_b}"
    lines = [f"{name}: {pair.pairs} questions measured by both ({pair.only_a} by A alone, {pair.only_b} by B alone)"]
    for title, paired in (("F1", pair.f1), ("F1 forced", pair.f1_forced)):
        if paired is not None:
            lines.append(f"  {title}: {_mean_sentence(paired)}")
    wrong = pair.wrong_answers
    if wrong is not None:
        lines.append(
            f"  wrong answers: {wrong.only_a} in A alone, {wrong.only_b} in B alone (McNemar p = {wrong.p:.3g})"
        )
    return lines


def _mean_sentence(paired: PairedMean) -> str:
    figure = paired.difference
    low, high = figure.low or 0.0, figure.high or 0.0
    return (
        f"A {100 * paired.a:.1f}, B {100 * paired.b:.1f}, B - A {100 * (figure.value or 0.0):+.2f} "
        f"[{100 * low:+.2f}, {100 * high:+.2f}], permutation p = {paired.p:.3g}, "
        f"detectable with {figure.n} pairs: {100 * paired.detectable:.2f}"
    )
