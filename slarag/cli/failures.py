"""From whatever went wrong to one line and an exit code.

0: done. 1: failed at run time, or interrupted where running again goes on. 2: the call or a file is wrong.
130: interrupted elsewhere.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable

from typer import Abort, Exit, TyperException

from ..sla.errors import ConfigurationError, SlaragError
from .streams import printable, say

DEBUG = "SLARAG_DEBUG"
_INTERRUPTED = 130
_ONLY_HELP = "NoArgsIsHelpError"  # by name: typer raises it but has no public name for it


def guarded(command: Callable[[], object]) -> int:
    """Run `command` and return its exit code; whatever it raises becomes one line on stderr.

    A command group that is called without a command gets its whole help there instead.
    With SLARAG_DEBUG=1 in the environment the exception passes through, for its traceback.
    """
    try:
        result = command()
        sys.stdout.flush()
    except KeyboardInterrupt:
        return _interrupted()
    except BrokenPipeError:
        return _reader_left()
    except SystemExit as left:
        if isinstance(left.__context__, BrokenPipeError):  # how typer leaves on one
            return _reader_left()
        raise
    except Exception as error:
        if os.environ.get(DEBUG) == "1" and not isinstance(error, TyperException | Exit | Abort):
            raise
        return _failed(error)
    code = result if isinstance(result, int) else 0
    return _interrupted() if code == _INTERRUPTED else code


def _failed(error: Exception) -> int:
    if isinstance(error, Exit):
        return error.exit_code
    if isinstance(error, Abort):
        return _interrupted()
    if isinstance(error, TyperException) and type(error).__name__ == _ONLY_HELP:
        say(error.format_message())
        return 2
    message, code = explain(error)
    complain(message)
    return code


def explain(error: Exception) -> tuple[str, int]:
    """The line that tells a person what went wrong and what to do, and the exit code."""
    if isinstance(error, SlaragError):
        return str(error), error.exit_code
    if isinstance(error, TyperException):
        return _usage(error), 2
    if isinstance(error, MemoryError):
        return "out of memory; index fewer files at once, or close other programs", 1
    if isinstance(error, OSError):
        return _system(error), 1
    first_line = next(iter(str(error).splitlines()), "")
    return f"unexpected {type(error).__name__}: {first_line}; run again with {DEBUG}=1 and report what it prints", 1


def complain(message: str) -> None:
    """Print `message` as one line on stderr."""
    say(f"slarag: error: {' '.join(printable(message).split())}")


def missing_extra(module: str, extra: str) -> ConfigurationError:
    """The error for a library that an extra of the package brings."""
    return ConfigurationError(f"{module} is not installed", remedy=f"pip install 'slarag[{extra}]'")


def _usage(error: TyperException) -> str:
    context = getattr(error, "ctx", None)
    command = getattr(context, "command_path", "slarag")
    return f"{error.format_message().rstrip('.')}; see `{command} --help`"


def _system(error: OSError) -> str:
    where = f" ({error.filename})" if error.filename else ""
    if error.errno == errno.ENOSPC:
        return f"the disk is full{where}; free some space and run the command again"
    return f"{error.strerror or error}{where}; check the path and its permissions"


def _interrupted() -> int:
    complain("interrupted")
    return _INTERRUPTED


def _reader_left() -> int:
    # Whoever read stdout has had enough; python would complain once more when it flushes at exit.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0
