"""`slarag profile`: the shipped profiles, and checking one's own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import AsJson
from .streams import say, show, write, write_json

if TYPE_CHECKING:
    from ..sla.profile import Profile

app = typer.Typer(help="List, print and check profiles.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="PROFILE", help="A shipped profile's name or a YAML file.")]


@app.command("list")
def list_profiles(as_json: AsJson = False) -> None:
    """List the shipped profiles with their objectives."""
    from ..sla.profile import load_profile, shipped_profiles

    profiles = [load_profile(name) for name in shipped_profiles()]
    if as_json:
        write_json({"profiles": [profile.model_dump() for profile in profiles]})
        return
    from .profile_view import profiles_view

    show(profiles_view(profiles))


@app.command("show")
def show_profile(profile: Name, as_json: AsJson = False) -> None:
    """Print a profile as YAML, ready to be saved and changed.

    Its first line names profile.schema.json for editors, which `slarag profile schema > profile.schema.json` puts
    beside it; nothing else reads that file.
    """
    from ..sla.profile import load_profile, profile_text

    found = load_profile(profile)
    if as_json:
        write_json({"profile": found.model_dump()})
    else:
        write(profile_text(profile))


@app.command()
def validate(
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="Profile files to check.")],
    as_json: AsJson = False,
) -> None:
    """Check profile files without running anything; the first fault is named with its file, line and key."""
    from ..sla.profile import load_profile

    checked: list[Profile] = [load_profile(path) for path in files]
    if as_json:
        write_json(
            {"valid": [{"file": str(path), "name": found.name} for path, found in zip(files, checked, strict=True)]}
        )
        return
    for path, found in zip(files, checked, strict=True):
        say(f"{path}: profile {found.name!r} is valid")


@app.command()
def schema() -> None:
    """Print the JSON Schema of profile files, for editors.

    Profiles name it profile.schema.json, beside them: `slarag profile schema > profile.schema.json`.
    """
    from ..sla.profile import profile_schema_text

    write(profile_schema_text())
