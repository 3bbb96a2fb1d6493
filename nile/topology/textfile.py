"""Text from the files that users write: bounded, UTF-8, and an error of the user's where it can't be read."""

from __future__ import annotations

from pathlib import Path

from nile.errors import RouteFileError

FILE_SIZE_MAX = 64 * 1024 * 1024


def read_text(path: Path, what: str = "a route file") -> str:
    """The text of a file; `what` it is, for errors. Raises `RouteFileError` where it can't be read."""
    try:
        if path.is_file() and path.stat().st_size > FILE_SIZE_MAX:
            raise RouteFileError(
                "the file is too large",
                where=str(path),
                remedy=f"{what} has at most {FILE_SIZE_MAX} bytes",
            )
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        remedy = "check the name, and that you may read it"
        raise RouteFileError(error.strerror or str(error), where=str(path), remedy=remedy) from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise RouteFileError("not UTF-8", where=f"{path}:{line}", remedy="save the file as UTF-8") from error
