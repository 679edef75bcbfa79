"""The package's public face."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

import slarag

HEAVY = ("torch", "langgraph", "langchain_core", "faiss", "sentence_transformers", "transformers", "numpy", "pydantic")


def test_the_names_are_sorted_and_each_is_there() -> None:
    assert slarag.__all__ == sorted(slarag.__all__)
    assert set(slarag.__all__) <= set(dir(slarag))
    for name in slarag.__all__:
        assert getattr(slarag, name) is not None


def test_the_lazy_names_are_the_public_ones() -> None:
    lazy = slarag._HOME_OF  # pyright: ignore[reportPrivateUsage]
    assert {*lazy, "__version__"} == set(slarag.__all__)
    for name, home in lazy.items():
        assert getattr(import_module(f"slarag.{home}"), name) is getattr(slarag, name)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="Enginee"):
        _ = slarag.Enginee  # type: ignore[attr-defined]


def test_importing_loads_nothing_heavy() -> None:
    program = f"import sys, slarag; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_what_a_program_needs_is_public() -> None:
    needed = {
        "build_index",
        "ForeignRetriever",
        "EmbeddedReader",
        "ChatBackend",
        "OpenAIBackend",
        "RouterBackend",
        "Price",
    }
    assert needed <= set(slarag.__all__)
