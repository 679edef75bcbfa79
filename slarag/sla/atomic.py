"""Writing a file in one step."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from .errors import StorageError


def write_atomically(path: Path, text: str) -> None:
    """Write `text` to `path`: a killed run leaves the old file or the new one; raises `StorageError`."""
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
        temporary = Path(name)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        os.replace(temporary, path)
    except OSError as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        reason = error.strerror or type(error).__name__
        raise StorageError(
            f"{str(path)!r} cannot be written: {reason}", remedy="free space or choose another path"
        ) from None
