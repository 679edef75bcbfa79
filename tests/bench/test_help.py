"""Every benchmark starts: what it imports is there, and its help says how to call it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parents[2] / "bench"
SCRIPTS = sorted(path.name for path in BENCH.glob("[a-z]*.py"))
# One process for all of them: most of the time goes to imports, which they share.
PROGRAM = """
import contextlib, io, json, runpy, sys
ended = {}
for script in sys.argv[1:]:
    sys.argv, printed = [script, "--help"], io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            runpy.run_path(script, run_name="__main__")
    except SystemExit as left:
        ended[script] = [left.code, printed.getvalue()]
    except BaseException as error:
        ended[script] = [1, repr(error)]
print(json.dumps(ended))
"""


@pytest.fixture(scope="module")
def ended() -> dict[str, tuple[int, str]]:
    """By script: the exit code of its `--help`, and what that printed."""
    command = [sys.executable, "-c", PROGRAM, *SCRIPTS]
    done = subprocess.run(command, cwd=BENCH, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_benchmark_tells_how_to_call_it(ended: dict[str, tuple[int, str]], script: str) -> None:
    code, printed = ended[script]
    assert code == 0, printed
    assert printed.startswith("usage:")
    assert "--json" in printed
