"""Compiled kernels are kept, and a machine that cannot have them does without."""

from __future__ import annotations

import logging
import shutil
import subprocess
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from slarag.backends.elastic.kernels import build
from slarag.backends.elastic.kernels.native import operations_for
from slarag.backends.elastic.models.operations import Operations

from .conftest import TINY


@pytest.fixture(autouse=True)
def _forgotten() -> Generator[None]:
    for one in (build.compiled, build.library):
        one.cache_clear()
    yield
    for one in (build.compiled, build.library):
        one.cache_clear()


def test_without_a_compiler_torch_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(_: str) -> None:
        return None

    monkeypatch.setattr(shutil, "which", none)
    assert build.library() is None
    assert type(operations_for(TINY)) is Operations


def test_a_failed_compilation_is_said_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(command: list[str], **_: Any) -> None:
        Path(command[-1]).write_bytes(b"half")
        raise subprocess.CalledProcessError(1, command)

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")
    monkeypatch.setattr(subprocess, "run", fail)
    with caplog.at_level(logging.WARNING):
        assert build.compiled() is None
    assert "torch is used instead" in caplog.text
    assert list(build.cache_folder().iterdir()) == []


def test_what_is_compiled_is_kept_for_the_user_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ran: list[list[str]] = []

    def compile_(command: list[str], **_: Any) -> None:
        ran.append(command)
        Path(command[-1]).write_bytes(b"made")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")
    monkeypatch.setattr(subprocess, "run", compile_)
    file = build.compiled()
    assert file is not None
    assert file.read_bytes() == b"made"
    assert build.cache_folder().stat().st_mode & 0o077 == 0
    build.compiled.cache_clear()
    assert build.compiled() == file
    assert len(ran) == 1
