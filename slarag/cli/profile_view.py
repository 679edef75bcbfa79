"""Profiles as a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from .words import promises

if TYPE_CHECKING:
    from ..sla.profile import Profile


def profiles_view(profiles: Sequence[Profile]) -> Table:
    """One row a profile: what it is for, what it promises, when it abstains."""
    table = Table("profile", "for", "promises", "first of all", "abstains")
    for profile in profiles:
        table.add_row(
            Text(profile.name, style="bold"),
            Text(profile.description),
            Text("\n".join(promises(profile))),
            Text(profile.priority),
            Text(f"under {profile.threshold:.0%} confidence" if profile.threshold else "never"),
        )
    return table
