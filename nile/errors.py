"""The one tree of errors.

Every error that can reach a user is a `NileError`: its text is fit to be
printed as it stands, it names the place and the remedy, and its class holds
the exit code. Foreign exceptions are mapped to this tree at the seam where
they arise; anything else that reaches the command line is a bug (exit 70).
"""

from __future__ import annotations


class NileError(Exception):
    """Base of all errors that a user may see.

    `message` says what is wrong, `where` names the place (a file with line and
    column, an option, a host), `remedy` says what to do about it.
    """

    exit_code = 1

    def __init__(self, message: str, *, where: str | None = None, remedy: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.remedy = remedy

    def __str__(self) -> str:
        head = f"{self.where}: {self.message}" if self.where else self.message
        return f"{head}\n  {self.remedy}" if self.remedy else head


class UsageError(NileError):
    """The request can't be carried out as it was made: options, files, host names."""

    exit_code = 2


class RouteFileError(UsageError):
    """A route file, or an inventory, that can't be used; `where` is `file:line:column`."""


class PlanError(UsageError):
    """Hosts, limits and reachability that admit no tree."""


class SshConfigError(UsageError):
    """An ssh setting that can't be honoured."""


class CredentialsError(UsageError):
    """A key that can't be read or used, a wrong passphrase, an agent that is away."""


class KnownHostsError(UsageError):
    """A known_hosts file that can't be read."""


class StoreError(NileError):
    """The store of runs can't be opened, read or written."""

    exit_code = 2


class TakenOverError(StoreError):
    """Another root goes on with this run: this one has to keep still."""


class NotOverError(NileError):
    """What was asked of a run under way, to end say, hasn't come about, for longer than is waited."""


class LabError(NileError):
    """A lab that can't be brought up, found or acted upon."""


class BugError(NileError):
    """Nile itself is wrong; shown with a request to report it."""

    exit_code = 70
