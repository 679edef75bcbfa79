"""Whatever goes wrong becomes one line with a remedy and the right exit code."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import NoReturn

import pytest

from slarag.cli.failures import guarded
from slarag.sla.errors import BackendTimeoutError, ConfigurationError, SlaragError, StorageError


def raising(error: BaseException) -> Callable[[], NoReturn]:
    def command() -> NoReturn:
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (ConfigurationError("the key is wrong", remedy="correct it"), 2, "the key is wrong; correct it"),
        (StorageError("no room", remedy="free some"), 1, "no room; free some"),
        (BackendTimeoutError("too late"), 1, "too late"),
        (OSError(errno.ENOSPC, "No space left on device", "index"), 1, "the disk is full (index); free some space"),
        (PermissionError(errno.EACCES, "Permission denied", "x"), 1, "Permission denied (x); check"),
        (MemoryError(), 1, "out of memory; "),
        (ZeroDivisionError("by 0\nat all"), 1, "unexpected ZeroDivisionError: by 0; run again with SLARAG_DEBUG=1"),
        (SlaragError("two\nlines \x1b[31mred"), 1, "two lines [31mred"),
    ],
)
def test_an_error_is_one_line(capsys: pytest.CaptureFixture[str], error: Exception, code: int, words: str) -> None:
    assert guarded(raising(error)) == code
    line = capsys.readouterr().err
    assert line.startswith("slarag: error: ")
    assert words in line
    assert line.count("\n") == 1
    assert "\x1b" not in line


def test_an_interrupt_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert guarded(raising(KeyboardInterrupt())) == 130
    assert "interrupted" in capsys.readouterr().err


def test_debugging_lets_the_exception_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLARAG_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        guarded(raising(ZeroDivisionError()))


def test_a_result_that_is_no_code_is_success() -> None:
    assert guarded(lambda: "text") == 0


def test_a_reader_that_leaves_is_no_failure() -> None:
    program = "import sys; from slarag.cli import main; sys.exit(main(['profile', 'schema']))"
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([sys.executable, "-c", program], stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")


def test_every_code_is_stable_and_of_its_own() -> None:
    def tree(kind: type[SlaragError]) -> list[type[SlaragError]]:
        return [kind, *(found for child in kind.__subclasses__() for found in tree(child))]

    codes = [kind.code for kind in tree(SlaragError) if kind.__module__ == "slarag.sla.errors"]
    assert len(codes) == len(set(codes))
    assert json.dumps(codes)
