"""The command of a shell leaf, in words for the shell there: pure (see nile.agent.shellleaf)."""

import errno
import zlib

from nile.agent.leafprogram import MARK, pieces, quoted
from nile.agent.outfit import EVERY_LOGIN, GRACE_S, PATH, substitute
from nile.agent.outfit import words as stand_for
from nile.agent.script import interpreter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List

SHELL = '"${SHELL:-/bin/sh}"'
PLAIN = {"env": {}, "clean": False, "cwd": None, "rlimits": {}, "subst": False, "script": None}  # type: Dict[str, Any]
CPU, MEMORY, FILES = "t", "v", "n"  # ulimit's letters


def lines(plan: "Dict[str, Any]", directory: str, mark: str, user: str) -> "List[str]":
    """What to tell it, in order; the last one starts the command. Raises OSError as nile.agent.outfit does.

    `directory` is its claim, `mark` what its processes are known by, `user` who logged in.
    """
    shared, node = plan["shared"], plan["node"]
    outfit = shared["job"]["outfit"] or PLAIN
    line = shared["job"]["command"] + node["line"]
    by = stand_for(node, {"USER": user})
    if outfit["subst"]:
        line = substitute(line, by)
    said, words = [], [SHELL, "-c", quoted(line)]
    script = node["script"] or outfit["script"]  # its own, or everybody's
    env = _environment(plan, directory, mark)
    if script:
        text = zlib.decompress(script["data"])
        args = [substitute(arg, by, plain=False) if outfit["subst"] else arg for arg in script["args"]]
        said += pieces(text)
        words = ["/bin/sh", "-c", quoted(line)] if line else []
        words += [quoted(word) for word in _interpreter(text, script["name"])]
        words += ['"$d/script"'] + [quoted(arg) for arg in args]
        env["NILE_SCRIPT"] = script["name"]
    env.update(outfit["env"])
    if outfit["clean"]:
        kept = ['%s="$%s"' % (name, name) for name in EVERY_LOGIN] + ["PATH=" + PATH]
        words = ["env", "-i"] + kept + ["%s=%s" % (name, quoted(env[name])) for name in sorted(env)] + words
        env = {}
    prepare = ["export %s=%s" % (name, quoted(env[name])) for name in sorted(env)] + _limits(outfit)
    if outfit["cwd"]:
        prepare.append("cd %s || exit" % quoted(outfit["cwd"]))
    return said + ["try %s %s" % (quoted("; ".join(prepare)), " ".join(words))]


def told(plan: "Dict[str, Any]", uid: int, pid: int, what: str) -> "List[str]":
    """What has the host's syslog told of the command, as nile.agent.minder does, where there is logger(1)."""
    audit, node = plan["shared"]["job"]["audit"], plan["node"]
    if not audit:
        return []
    digest, script = audit["sha256"], node["script"]
    if script or node["line"]:  # its own
        import hashlib

        own = zlib.decompress(script["data"]) if script else node["line"].encode("utf-8", "surrogateescape")
        digest = hashlib.sha256(own).hexdigest()
    words = plan["shared"]["run"], node["host"], audit["by"], uid, pid, digest, what
    text = "run=%s host=%s by=%s uid=%d pid=%d sha256=%s %s" % words
    return ['(logger -p authpriv.info -t "nile[$$]" -- %s >/dev/null 2>&1 </dev/null &)' % quoted(text)]


def _environment(plan: "Dict[str, Any]", directory: str, mark: str) -> "Dict[str, str]":
    """What Nile says of the run; there is no Python to name."""
    shared, node = plan["shared"], plan["node"]
    env = {"NILE_RUN": shared["run"], "NILE_COUNT": str(shared["count"])}
    env["NILE_SCRATCH"] = directory + "/scratch"
    for key in ("host", "stage", "parent", "rank", "group", "groups"):
        env["NILE_" + key.upper()] = str(node[key])
    env[MARK] = mark
    return env


def _interpreter(text: bytes, name: str) -> "List[str]":
    """As for any host, but for the Python that isn't there."""
    if name.endswith(".py") and not text.startswith(b"#!"):
        raise OSError(errno.ENOENT, "there is none", "--script: its interpreter python3")
    return interpreter(text, name)


def _limits(outfit: "Dict[str, Any]") -> "List[str]":
    """Soft first: no hard limit may be below it."""
    limits = outfit["rlimits"]
    wanted = []
    if "cpu" in limits:
        wanted.append((CPU, limits["cpu"], limits["cpu"] + GRACE_S))
    if "nofile" in limits:
        wanted.append((FILES, limits["nofile"], limits["nofile"]))
    if "mem" in limits:
        wanted.append((MEMORY, limits["mem"] // 1024, limits["mem"] // 1024))
    return [
        "ulimit -S%s %d && ulimit -H%s %d || exit" % (kind, soft, kind, hard) for kind, soft, hard in wanted
    ]
