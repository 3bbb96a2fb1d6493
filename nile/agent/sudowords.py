"""How sudo is called, and what its words mean: pure. It is called so that it says them in English."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, List, Sequence

PROMPT = "nile asks for the password of sudo: "
REFUSED = "the password was refused"
"""What the root looks for: a host that says this had the password, and sudo didn't take it."""
MORE = "sudo asks for more than a password"
_NO_PASSWORD = ("Sorry, try again", "incorrect password attempt", "no password was provided")
_NO_TERMINAL = "you must have a tty"
_OF_SUDO = ("sudo: ", "Sorry, ", "This incident")
_LONG = (" is not allowed to execute", " may not run sudo")
_BEHIND = (" is not in the sudoers file", " may not run sudo", " is not allowed to ", " password is expired")
MOST_WORDS = 300


def argv(user: str, run: str, host: str, words: "Sequence[str]") -> "List[str]":
    """The words after a path: by sudo, as that user, these words. They bear the mark of the run.

    By way of env, so that one rule in sudoers does for all. A password that was given for something
    else counts for nothing, nor does this one for anything behind it (-k).
    """
    mark = ["NILE_RUN=" + run, "NILE_HOST=" + host]
    return ["sudo", "-k", "-S", "-p", PROMPT, "-u", user, "--", "env"] + mark + list(words)


def environment(env: "Dict[str, str]") -> "Dict[str, str]":
    """What sudo is given; what of it the command is not to see is in `locale`."""
    return dict(env, LC_ALL="C", LANGUAGE="")


def locale(env: "Dict[str, str]") -> "Dict[str, str]":
    """The languages of the login, which sudo would have handed on."""
    return {name: env[name] for name in env if name.startswith("LC_") or name in ("LANG", "LANGUAGE")}


def wants_terminal(said: str) -> bool:
    """Did it refuse for want of a terminal (requiretty)?"""
    return _NO_TERMINAL in said


def reason(said: str, user: str, python: str, given: bool) -> str:
    """Why it came to nothing; `given`: it had the password.

    Then what it says at the end counts for a refusal of that, unless it is known to be said behind it.
    """
    lines = [line for line in said.replace(PROMPT, "\n").splitlines() if line.strip()]
    why = lines[-1].strip()[:MOST_WORDS] if lines else "it says nothing"
    for word in _LONG:  # what it goes on with is another text on each host
        before, found, _ = why.partition(word)
        why = (before + found).strip() if found else why
    forbidden = any(word in said for word in _BEHIND)
    by_sudo = not lines or forbidden or why.startswith(_OF_SUDO)
    if given and not forbidden and (by_sudo or any(word in said for word in _NO_PASSWORD)):
        return "%s: %s" % (REFUSED, why)
    return "sudo refuses: %s" % why if by_sudo else unable(user, python, why)


def asked_again(said: str) -> str:
    """Why, where it asks once more.

    A second factor bears the same prompt (-p stands for every question). One that didn't take the password
    says so before it asks again, in words that are each host's own.
    """
    behind = [line.strip() for line in said.split(PROMPT)[1].splitlines() if line.strip()]
    return "%s: %s" % (REFUSED, behind[-1][:MOST_WORDS]) if behind else MORE


def unable(user: str, python: str, why: str) -> str:
    """sudo is willing, but that user can't run the Python that the agent runs on."""
    return "user %s can't run the Python of the agent, %s: %s" % (user, python, why)
