"""Something that was written and can't be taken, before it is known where it was written."""

from __future__ import annotations

from nile.errors import UsageError


class Refusal(Exception):
    """Why a value isn't taken, and the remedy; whoever knows the place makes a `NileError` of it."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def usage_error(self, where: str) -> UsageError:
        """The error for an option of the command line, which `where` names."""
        return UsageError(self.message, where=where, remedy=self.remedy)
