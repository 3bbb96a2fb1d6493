"""Coverage-guided fuzzing of what reads foreign bytes: atheris chooses, the models judge.

    python -m tests.fuzz.soak [--seconds 120] [--only TARGET...] [--corpus DIRECTORY]
    python -m tests.fuzz.soak --replay TARGET FILE

Each target runs in a process of its own for that many seconds, one after the
other. What reached new code is kept in the corpus (by default
$XDG_CACHE_HOME/nile-fuzz), and is where the next run goes on. An input that
breaks a rule is saved beside it and named with the command that replays it; it
needs no atheris.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import re
import resource
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

RSS_MB = 1024
SLOWEST_S = 20
"""An input that takes longer is a failure too."""
INSTRUMENTED = ("nile.agent", "nile.cascade")


@dataclass(frozen=True, slots=True)
class Target:
    """A function of `tests.fuzz` that takes bytes, and how many of them it makes use of."""

    module: str
    function: str
    longest: int

    def load(self) -> Callable[[bytes], None]:
        """The function itself."""
        module = importlib.import_module(f"tests.fuzz.{self.module}")
        found: Callable[[bytes], None] = getattr(module, self.function)
        return found


TARGETS = {
    "wire": Target("wire_model", "walk_wire", 600),
    "link": Target("link_model", "walk_link", 600),
    "core": Target("core_model", "walk_core", 800),
    "relay": Target("relay_model", "walk_relay", 1000),
    "root": Target("root_model", "walk_root", 1500),
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one target's run came to; `executions` and `coverage` are libFuzzer's own counts."""

    status: int
    cpu_s: float
    executions: int
    coverage: int
    corpus: int
    failing: tuple[Path, ...]


def default_corpus() -> Path:
    """Outside of the tree, so that it outlives a clean-up of that."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "nile-fuzz"


def fuzz(name: str, directory: Path, seconds: int) -> Outcome:
    """Fuzz one target in a process of its own."""
    corpus, failing = directory / name, directory / f"{name}-failing"
    corpus.mkdir(parents=True, exist_ok=True)
    failing.mkdir(exist_ok=True)
    before = set(failing.iterdir())
    options = [
        f"-max_total_time={seconds}", f"-max_len={TARGETS[name].longest}", f"-rss_limit_mb={RSS_MB}",
        f"-timeout={SLOWEST_S}", f"-artifact_prefix={failing}/", "-print_final_stats=1", "-len_control=0",
    ]  # fmt: skip
    command = [sys.executable, "-m", "tests.fuzz.soak", "--inside", name, *options, str(corpus)]
    spent_s = _children_cpu_s()
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    found = tuple(sorted(set(failing.iterdir()) - before))
    if done.returncode:
        print(done.stdout[-4000:], done.stderr[-4000:], sep="\n", file=sys.stderr)
    said = done.stderr
    return Outcome(
        done.returncode,
        _children_cpu_s() - spent_s,
        _last(r"stat::number_of_executed_units: (\d+)", said) or _last(r"^#(\d+)\s", said),
        _last(r" cov: (\d+) ", said),
        len(list(corpus.iterdir())),
        found,
    )


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _last(pattern: str, text: str) -> int:
    found = re.findall(pattern, text, re.MULTILINE)
    return int(found[-1]) if found else 0


def inside(name: str, options: list[str]) -> None:
    """This process becomes the fuzzer of that target: never returns."""
    import atheris

    with atheris.instrument_imports(include=list(INSTRUMENTED)):
        test = TARGETS[name].load()
    atheris.Setup([sys.argv[0], *options], test)
    atheris.Fuzz()


def main() -> int:
    """The command line; 1 where an input broke a rule."""
    if sys.argv[1:2] == ["--inside"]:
        inside(sys.argv[2], sys.argv[3:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=int, default=120)
    parser.add_argument("--only", nargs="+", choices=TARGETS, default=list(TARGETS), metavar="TARGET")
    parser.add_argument("--corpus", type=Path, default=default_corpus())
    parser.add_argument("--replay", nargs=2, metavar=("TARGET", "FILE"))
    asked = parser.parse_args()
    if asked.replay:
        TARGETS[asked.replay[0]].load()(Path(asked.replay[1]).read_bytes())
        print("no rule is broken")
        return 0
    if importlib.util.find_spec("atheris") is None:
        print(f"NOTE: atheris has no build for Python {sys.version.split()[0]} here: nothing was fuzzed")
        return 0
    broken = 0
    for name in asked.only:
        outcome = fuzz(name, asked.corpus, asked.seconds)
        broken += outcome.status != 0
        print(
            f"{name}: {outcome.executions} executions in {outcome.cpu_s:.0f} s of CPU, "
            f"{outcome.coverage} edges reached, {outcome.corpus} inputs in the corpus",
            flush=True,
        )
        for file in outcome.failing:
            print(f"  an input breaks a rule: {sys.executable} -m tests.fuzz.soak --replay {name} {file}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
