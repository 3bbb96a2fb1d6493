"""A command with more than a line: variables, a directory, limits, a script, sudo. Travels with the plan.

What a host refuses is an OSError that names the option, so that the verdict does.
"""

import errno
import os

from nile.agent import forked, processes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List, Sequence

    from nile.agent.loop import Agent

EVERY_LOGIN = ("HOME", "USER", "LOGNAME", "SHELL")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-+@:,/")
GRACE_S = 5  # from SIGXCPU, which a program may catch, to SIGKILL


def spawner(agent: "Agent", plan: "Dict[str, Any]") -> "Callable[..., int]":
    """What starts the command of this plan, called as `nile.agent.processes.spawn` is."""
    job = plan["shared"]["job"]
    outfit = job["outfit"]
    script = plan["node"]["script"] or outfit["script"]  # its own, or everybody's
    if outfit["sudo"]:
        from nile.agent import sudo

        elevated = sudo.spawner(agent, plan)
        if elevated:
            return elevated.start

    def spawn(argv: "Sequence[str]", env: "Dict[str, str]", fds: "Sequence[int]") -> int:
        line = argv[2]
        if outfit["subst"]:
            line = substitute(line, words(plan["node"], env))
        return start(argv[0], [argv[0].rpartition("/")[2], argv[1], line], env, fds)

    def spawn_script(argv: "Sequence[str]", env: "Dict[str, str]", fds: "Sequence[int]") -> int:
        from nile.agent.script import Script

        given = script
        if outfit["subst"]:
            by = words(plan["node"], env)
            given = dict(given, args=[substitute(arg, by, plain=False) for arg in given["args"]])
        runs, pid = Script(agent, given, outfit["sandbox"]), 0
        seen = (["/bin/sh", "-c", argv[2]] if argv[2] else []) + runs.argv
        try:
            pid = start(seen[0], seen, dict(env, NILE_SCRIPT=given["name"]), fds)
        except OSError as error:
            if error.filename == seen[0]:
                error.filename = "--script: its interpreter %s" % seen[0]
            raise
        finally:
            runs.over(pid > 0)
        return pid

    def start(path: str, seen: "List[str]", env: "Dict[str, str]", fds: "Sequence[int]") -> int:
        env = environment(outfit, env)
        agent = os.getpid()

        def ready() -> None:
            before = []
            if outfit["sandbox"]:
                from nile.agent import sandbox

                before = sandbox.Sandbox(outfit, env, job["scratch"], agent).enter()
            prepare(outfit)
            if before:
                os.execve(before[0], sandbox.encoded(before + [path] + seen[1:]), env)

        return forked.spawn(path, seen, env, fds, processes.IGNORED, ready)

    return spawn_script if script else spawn


def environment(outfit: "Dict[str, Any]", env: "Dict[str, str]") -> "Dict[str, str]":
    """What it finds in its environment."""
    if outfit["clean"]:
        env = {name: env[name] for name in env if name in EVERY_LOGIN or name.startswith("NILE_")}
        env["PATH"] = PATH
    given = {name: value.encode("utf-8", "surrogateescape") for name, value in outfit["env"].items()}
    return dict(env, **{name: os.fsdecode(given[name]) for name in given})


def words(node: "Dict[str, Any]", env: "Dict[str, str]") -> "Dict[str, str]":
    """What a letter behind a % stands for."""
    return {
        "h": node["host"],
        "g": node["group"],
        "u": env.get("USER") or env.get("LOGNAME", ""),
        "r": str(node["rank"]),
        "s": str(node["stage"]),
    }


def substitute(line: str, by: "Dict[str, str]", plain: bool = True) -> str:
    """The line with the words in it. `plain`: one that a shell might read as more than itself is refused."""
    pieces = line.split("%")
    out = [pieces.pop(0)]
    while pieces:
        piece = pieces.pop(0)
        if piece:
            word = by[piece[0]]
            if plain and not (word and PLAIN.issuperset(word)):
                raise OSError(
                    errno.EINVAL, os.strerror(errno.EINVAL), "--subst: %%%s is %r" % (piece[0], word)
                )
            out.append(word + piece[1:])
        else:  # of two in a row
            out.append("%" + pieces.pop(0))
    return "".join(out)


def prepare(outfit: "Dict[str, Any]") -> None:
    """In the child: its directory, and its limits."""
    cwd = outfit["cwd"]
    if cwd:
        try:
            os.chdir(cwd.encode("utf-8", "surrogateescape"))
        except OSError as error:
            raise OSError(error.errno, "", "--cwd %s" % cwd) from None
    if outfit["rlimits"]:
        import resource

        kinds = {"cpu": resource.RLIMIT_CPU, "mem": resource.RLIMIT_AS, "nofile": resource.RLIMIT_NOFILE}
        for name in ("cpu", "nofile", "mem"):  # that of memory when nothing is left to do
            if name in outfit["rlimits"]:
                limit(resource, kinds, name, outfit["rlimits"][name])


def limit(resource: "Any", kinds: "Dict[str, int]", name: str, value: int) -> None:
    """Set one; raises OSError."""
    most = resource.getrlimit(kinds[name])[1]
    hard = value + GRACE_S if name == "cpu" else value
    if value <= most != resource.RLIM_INFINITY:
        hard = min(hard, most)
    try:
        resource.setrlimit(kinds[name], (value, hard))
    except (ValueError, OSError):
        what = "--rlimit %s=%d (the host allows %d at most)" % (name, value, most)
        raise OSError(errno.EPERM, "", what) from None
