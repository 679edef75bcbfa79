"""Loads the programs in `examples/`, which are no package."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from slarag import Profile

UNHURRIED = Profile(name="unhurried", priority="quality")
"""No deadline: what is answered must not depend on how busy the machine is."""
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def load(name: str) -> ModuleType:
    """The module of `examples/NAME.py`, freshly executed."""
    spec = importlib.util.spec_from_file_location(f"examples_{name}", EXAMPLES / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    # pydantic looks the names of annotations up in the module that a class says it is from.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
