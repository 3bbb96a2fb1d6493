"""Why a worker can't do what it is asked to, in words."""

import os
import sys

from nile.agent.sudowords import unable
from nile.agent.worker.messages import CantError

SUDO_REMEDY = "let this user run env by sudo without a password (NOPASSWD), or leave --sudo out"


def refused() -> CantError:
    """Why sudo didn't start this worker as it should have: then it is here to say that."""
    words = os.environ["NILE_REFUSED"].strip().splitlines()
    why = words[-1][:300] if words else "it says nothing"
    user = os.environ.get("NILE_UNABLE", "")
    if user:  # sudo is willing
        reason = unable(user, sys.executable, why)
        return CantError("no-python", reason, "let %s run it, or install python3 in /usr/bin there" % user)
    return CantError("not-writable", "sudo refuses: %s" % why, SUDO_REMEDY)


def where(error: Exception) -> str:
    """What went wrong, and where."""
    at = error.__traceback__
    while at is not None and at.tb_next is not None:
        at = at.tb_next
    place = "%s:%d" % (at.tb_frame.f_code.co_filename, at.tb_lineno) if at is not None else ""
    return "%s: %s (%s)" % (type(error).__name__, error, place)
