"""Which files are left out: rsync's `--exclude PATTERN`, so that what is looked at is what rsync copies.

The rules are those of rsync(1), "PATTERN MATCHING RULES". Every pattern becomes
a regular expression that is matched against `/` and the path within the
transfer; then a name alone, a name with slashes and one with `**` are all
anchored in the same way: at any slash, or at the first one.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterable


class Patterns:
    """What `--exclude` was given, in any order: a path that one of them matches is left out."""

    def __init__(self, patterns: "Iterable[bytes]" = ()) -> None:
        """Raises ValueError, fit for a user, for a pattern that is no good."""
        self.texts = tuple(patterns)
        if self.texts:
            self._read()

    def _read(self) -> None:
        from nile.agent.worker.expressions import any_of, check, expression

        files, directories, contents = [], [], []
        for pattern in self.texts:
            check(pattern)
            body = pattern[:-1] if pattern.endswith(b"/") else pattern
            text = expression(body, pattern)
            directories.append(text)
            if body.endswith(b"***"):
                contents.append(text)
            if body is pattern:
                files.append(text)
        self._files, self._directories, self._contents = map(any_of, (files, directories, contents))

    def excludes(self, path: bytes, directory: bool) -> bool:
        """Whether this one itself is left out; `path` is within the transfer, without a slash at either end.

        What is in a directory that is left out has to be left out by the caller: nobody looks into it.
        """
        if not self.texts:
            return False
        path = b"/" + path
        if not directory:
            return self._files(path) is not None
        return self._directories(path) is not None or self._contents(path + b"/") is not None
