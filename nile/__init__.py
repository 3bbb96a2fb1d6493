"""Nile: push deployment to many Linux hosts over a self-replicating SSH tree.

What other programs import is here: `nile.run`, the events that it yields, the
errors. See docs/reference/python-api.md. Nothing is loaded before it is used,
so that `import nile` costs the command line nothing.
"""

TYPE_CHECKING = False  # to have that of typing, typing would be loaded
if TYPE_CHECKING:
    from nile import errors, events
    from nile.api import AskPassword, Run, RunEvent, Script, run
    from nile.errors import NileError, UsageError
    from nile.events import (
        Code,
        HostOutput,
        HostResult,
        HostStarted,
        HostUp,
        Leftover,
        Notice,
        RunEnded,
        RunStarted,
        Verdict,
    )
    from nile.options import OnOrphan, Sandbox

__version__ = "0.1.0"

API_VERSION = 1
"""Of what is named in `__all__`: raised by what could break a program that uses it. What is added doesn't."""

__all__ = [
    "API_VERSION",
    "AskPassword",
    "Code",
    "HostOutput",
    "HostResult",
    "HostStarted",
    "HostUp",
    "Leftover",
    "NileError",
    "Notice",
    "OnOrphan",
    "Run",
    "RunEnded",
    "RunEvent",
    "RunStarted",
    "Sandbox",
    "Script",
    "UsageError",
    "Verdict",
    "__version__",
    "errors",
    "events",
    "run",
]

_MODULES = {
    "AskPassword": "nile.api",
    "Run": "nile.api",
    "RunEvent": "nile.api",
    "OnOrphan": "nile.options",
    "Sandbox": "nile.options",
    "Script": "nile.options",
    "run": "nile.api",
    "NileError": "nile.errors",
    "UsageError": "nile.errors",
}


if not TYPE_CHECKING:  # for whom a name that is not above is an error

    def __getattr__(name: str) -> object:
        """Load what is asked for, once."""
        if name not in __all__:
            raise AttributeError(f"module 'nile' has no attribute {name!r}")
        from importlib import import_module

        if name in ("errors", "events"):
            return import_module(f"nile.{name}")
        value = getattr(import_module(_MODULES.get(name, "nile.events")), name)
        globals()[name] = value
        return value


def __dir__() -> "list[str]":  # tests of the agent import this with the Pythons of hosts
    return sorted({*globals(), *__all__})
