"""What a build did."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..loaders import Skipped


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildReport:
    """What a run did.

    documents, passages: in the index now. embedded: passages that were embedded. reused: passages whose vectors came
    from the index that was there. resumed: passages whose vectors came from an interrupted run. skipped: what could not
    be read.
    """

    folder: Path
    documents: int
    passages: int
    embedded: int
    reused: int
    resumed: int
    skipped: tuple[Skipped, ...]
