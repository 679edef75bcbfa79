"""Profiles: a service-level agreement as a file."""

from __future__ import annotations

import json
from contextlib import suppress
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Annotated, Any, cast

from pydantic import BaseModel, Field, ValidationError

from .errors import ProfileError
from .objectives import (
    Abstention,
    CostObjective,
    LatencyObjective,
    Objectives,
    Priority,
    QualityObjective,
    RiskObjective,
    Strict,
)
from .strict_yaml import Document, parse

__all__ = [
    "Abstention",
    "CostObjective",
    "LatencyObjective",
    "Objectives",
    "Priority",
    "Profile",
    "QualityObjective",
    "RiskObjective",
    "load_profile",
    "parse_profile",
    "profile_schema",
    "profile_schema_text",
    "profile_text",
    "shipped_profiles",
]

_FOLDER = Path(__file__).with_name("profiles")
_SHIPPED = ("fast", "balanced", "thorough", "safe")
_SHOWN = 60
_MAX_BYTES = 1_000_000


class Profile(Strict):
    """A service-level agreement: objectives, and which of them the mapper optimises among the plans that meet all."""

    name: Annotated[str, Field(min_length=1, max_length=60, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    description: Annotated[str, Field(max_length=1000)] = ""
    priority: Priority = Field(description="The metric that is made as good as the objectives allow.")
    objectives: Objectives = Field(default_factory=Objectives)
    abstention: Abstention = Field(default_factory=Abstention)
    compute_floor: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="How low a pool that is short of devices may put the share of the model's compute a reading gets.",
    )

    @property
    def threshold(self) -> float:
        """The confidence under which an answer is withheld; 0 when abstaining is not allowed."""
        return self.abstention.below_confidence if self.abstention.allowed else 0.0


def shipped_profiles() -> tuple[str, ...]:
    """The names of the profiles that come with the package, from least to most work."""
    return _SHIPPED


def profile_text(name_or_path: str | Path) -> str:
    """The YAML of a shipped profile or of a file; raises `ProfileError` when there is none."""
    return _read(_locate(name_or_path))


def load_profile(name_or_path: str | Path) -> Profile:
    """A shipped profile by its name, or one from a YAML file; raises `ProfileError` naming file, line and key."""
    path = _locate(name_or_path)
    if path.parent == _FOLDER:
        return _shipped(path.stem)
    return parse_profile(_read(path), path.name)


def parse_profile(text: str, name: str = "profile.yaml") -> Profile:
    """The profile written in `text`; `name` is the file's name in errors."""
    document = parse(text, name)
    if not isinstance(document.data, dict):
        raise ProfileError(
            f"{name}: not a mapping of keys to values", remedy="start from `slarag profile show balanced`"
        )
    try:
        return Profile.model_validate(document.data)
    except ValidationError as error:
        raise _explain(error, document) from None


def profile_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of profile files."""
    schema = Profile.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def profile_schema_text() -> str:
    """The schema as it is committed beside the shipped profiles."""
    return json.dumps(profile_schema(), indent=2, sort_keys=True) + "\n"


@cache
def _shipped(name: str) -> Profile:
    return parse_profile(_read(_FOLDER / f"{name}.yaml"), f"{name}.yaml")


def _locate(name_or_path: str | Path) -> Path:
    if not isinstance(name_or_path, str | Path):
        raise ProfileError(
            f"a profile of type {type(name_or_path).__name__} cannot be loaded",
            remedy="name one, or give a path; a dict is Profile.model_validate's",
        )
    text = str(name_or_path)
    if text in _SHIPPED:
        return _FOLDER / f"{text}.yaml"
    path = Path(name_or_path)
    with suppress(OSError, ValueError):  # no path: too long, or with a null in it
        if path.is_file():
            return path
    text = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
    near = get_close_matches(text, _SHIPPED, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"use one of {list(_SHIPPED)} or the path of a YAML file"
    raise ProfileError(f"no profile {text!r}", remedy=hint)


def _read(path: Path) -> str:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ProfileError(f"{path.name}: cannot be read: {error.strerror}", remedy="check the path") from None
    if len(raw) > _MAX_BYTES:
        raise ProfileError(f"{path.name}: {len(raw)} bytes is too large for a profile", remedy="give a profile file")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        raise ProfileError(f"{path.name}: not a UTF-8 text file", remedy="give a YAML file") from None


def _explain(error: ValidationError, document: Document) -> ProfileError:
    """The first fault in one line, with how many more there are; a misspelt key goes before the gap that it leaves."""
    faults = error.errors()
    first = min(faults, key=lambda fault: (fault["type"] != "extra_forbidden", document.line(fault["loc"])))
    path: tuple[str | int, ...] = first["loc"]
    where = f"{document.name}:{document.line(path)}"
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    dotted = ".".join(str(part) for part in path)
    if first["type"] == "extra_forbidden":
        return ProfileError(f"{where}: unknown key {dotted!r}{more}", remedy=_nearest(path), key=dotted)
    if first["type"] == "missing":
        return ProfileError(f"{where}: {dotted!r} is missing{more}", remedy=f"add {path[-1]!r}", key=dotted)
    reason = str(first["msg"]).removeprefix("Value error, ")
    got = "" if isinstance(first["input"], dict) else f" (got {first['input']!r:.80})"
    return ProfileError(f"{where}: {dotted!r}: {reason}{got}{more}", remedy="correct the value", key=dotted)


def _nearest(path: tuple[str | int, ...]) -> str:
    known = sorted(_model_at(path[:-1]).model_fields)
    near = get_close_matches(str(path[-1]), known, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else f"the keys here are {known}"


def _model_at(path: tuple[str | int, ...]) -> type[BaseModel]:
    model: type[BaseModel] = Profile
    for part in path:
        annotation = model.model_fields[str(part)].annotation
        options = [annotation, *getattr(annotation, "__args__", ())]
        model = next(cast("type[BaseModel]", option) for option in options if _is_model(option))
    return model


def _is_model(option: object) -> bool:
    return isinstance(option, type) and issubclass(option, BaseModel)
