"""What a calibration is made from."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ..sla.calibration import Calibration
from ..sla.errors import ConfigurationError
from ..sla.plan import Plan, default_plan_space


@dataclass(frozen=True, kw_only=True, slots=True)
class CalibrationSettings:
    """What a calibration is made from.

    data: question files, each of a name of its own; retrieval runs over the passages of all of them.
    out: the calibration file to write.
    work: folder for the index and the trials, from which an interrupted calibration goes on; beside `out` by default.
    limit: questions, spread evenly over the files and drawn by `seed`. unanswerable_share: at most this share of them.
    confidence_questions: further ones, from the files in turn, that the confidence alone is fitted to; each runs under
    the plans that the shipped profiles would give it, idle and busy, and a few more, half of them over their own
    passages and the others over all passages of their own file.
    kept: a calibration whose figures of plans stay as they are, while its confidence is fitted anew to the
    `confidence_questions`; `limit` and `timed` then say nothing.
    feedback: files of `Engine.feedback`, whose answers the confidence is fitted to as well. timed: questions on which
    every plan is also timed, alone and without a memory. concurrency: plans in flight.
    """

    data: tuple[Path, ...]
    out: Path
    work: Path | None = None
    limit: int = 200
    seed: int = 0
    unanswerable_share: float = 0.2
    confidence_questions: int = 240
    kept: Calibration | None = None
    feedback: tuple[Path, ...] = ()
    timed: int = 4
    concurrency: int = 16
    plans: tuple[Plan, ...] = field(default_factory=default_plan_space)

    def __post_init__(self) -> None:
        if not self.data:
            raise ConfigurationError("no question file to calibrate on", remedy="name one with --data")
        self._refuse_equal_names()
        if self.kept is not None and not self.confidence_questions:
            raise ConfigurationError(
                "no question to fit the confidence to", remedy="ask for confidence questions, or keep no calibration"
            )
        least = min(self.limit - 1, self.timed - 1, self.concurrency - 1, self.confidence_questions)
        if least < 0 or not 0 <= self.unanswerable_share <= 1:
            raise ConfigurationError(
                f"limit {self.limit!r}, timed {self.timed!r} and concurrency {self.concurrency!r} must be 1 or more, "
                f"confidence_questions {self.confidence_questions!r} 0 or more, "
                f"unanswerable_share {self.unanswerable_share!r} between 0 and 1",
                remedy="correct the value",
            )

    def _refuse_equal_names(self) -> None:
        """Questions, trials and indexes of a file are kept under its name."""
        seen: dict[str, Path] = {}
        for path in self.data:
            if path.name in seen:
                raise ConfigurationError(
                    f"two question files are named {path.name!r}: {str(seen[path.name])!r} and {str(path)!r}",
                    remedy="give each a name of its own, or name it once",
                )
            seen[path.name] = path

    @property
    def folder(self) -> Path:
        """Where the index and the trials lie."""
        return self.work or self.out.with_name(f"{self.out.stem}-work")
