"""`nile man`: the manual page, made of the command line itself."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import click

from nile import __version__

SEE_ALSO = "ssh(1), ssh_config(5), ssh-keygen(1), clush(1), rsync(1)"
FILES = (
    (
        "./nile.yaml, ~/.config/nile/routes.yaml, /etc/nile/routes.yaml",
        "The route file, where -r names none.",
    ),
    ("~/.local/state/nile/runs.db", "The store of runs."),
    ("~/.ssh/known_hosts, ~/.ssh/config", "As ssh uses them; host keys are always checked strictly."),
)
ENVIRONMENT = (
    ("NILE_ROUTES", "The route file, where -r names none."),
    ("NO_COLOR", "No colours, whatever the terminal."),
    ("XDG_STATE_HOME, XDG_CONFIG_HOME, XDG_CACHE_HOME", "Where Nile keeps what it writes, and looks."),
)
EXIT_CODES = (
    ("0", "All hosts are ok."),
    ("1", "A command failed, or was cancelled though nobody interrupted the run."),
    ("2", "The request can't be carried out as it was made."),
    ("4", "A host was unreachable or lost, or timed out."),
    ("70", "A bug in Nile."),
    ("130", "The run was interrupted."),
)
PROGRAM = "nile"


@click.command("man")
def command() -> None:
    """Print Nile's manual page, for man(1): all commands, with their options.

    \b
    Read it now:     nile man | man -l -
    Keep it:         nile man > ~/.local/share/man/man1/nile.1
    """
    from nile.cli import commands

    for text in page(commands):
        click.echo(text)


def page(group: click.Group) -> Iterator[str]:
    """The lines of the page."""
    context = group.make_context(PROGRAM, [], resilient_parsing=True)
    yield f'.TH NILE 1 "" "nile {__version__}" "User Commands"'
    yield ".SH NAME"
    yield escaped(f"{PROGRAM} - run commands and copy files on many hosts, over a tree of ssh logins")
    yield from _heading("SYNOPSIS", [f"{PROGRAM} COMMAND [OPTIONS] [ARGUMENTS]"])
    yield ".SH DESCRIPTION"
    yield from _paragraphs(group.help or "")
    yield ".SH COMMANDS"
    for name in group.list_commands(context):
        found = group.get_command(context, name)
        assert found is not None, name
        yield from _command(found, context, (PROGRAM, name))
    yield from _list("EXIT STATUS", EXIT_CODES)
    yield from _list("ENVIRONMENT", ENVIRONMENT)
    yield from _list("FILES", FILES)
    yield from _heading("SEE ALSO", [SEE_ALSO])


def _command(found: click.Command, above: click.Context, names: tuple[str, ...]) -> Iterator[str]:
    """A command and those below it: how it is called, what it does, its options, examples."""
    with click.Context(found, info_name=names[-1], parent=above) as context:
        yield f".SS {escaped(' '.join(names))}"
        yield ".B " + escaped(f"{' '.join(names)} {' '.join(found.collect_usage_pieces(context))}")
        yield ".PP"
        yield from _paragraphs(found.help or "")
        for parameter in found.get_params(context):
            if (record := parameter.get_help_record(context)) is not None:
                yield from _item(*record)
        yield from _examples(found.epilog or "")
        if isinstance(found, click.Group):
            for name in found.list_commands(context):
                below = found.get_command(context, name)
                assert below is not None, name
                yield from _command(below, context, (*names, name))


def _paragraphs(text: str) -> Iterator[str]:
    """A docstring: paragraphs are filled, but those behind a \\b stay as they are."""
    for paragraph in re.split(r"\n\s*\n", _dedented(text)):
        if paragraph.startswith("\b"):
            yield from _verbatim(paragraph.splitlines()[1:])
        elif paragraph.strip():
            yield escaped(" ".join(paragraph.split()))
            yield ".PP"


def _dedented(text: str) -> str:
    from inspect import cleandoc

    return cleandoc(text)


def _examples(text: str) -> Iterator[str]:
    lines = [line for line in text.splitlines() if line.strip("\b ")]
    if lines:
        yield ".PP"
        yield escaped(lines[0].strip())
        yield from _verbatim(lines[1:])


def _verbatim(lines: Sequence[str]) -> Iterator[str]:
    yield ".nf"
    yield from map(escaped, lines)
    yield ".fi"
    yield ".PP"


def _heading(title: str, lines: Sequence[str]) -> Iterator[str]:
    yield f".SH {title}"
    yield from map(escaped, lines)


def _list(title: str, items: Sequence[tuple[str, str]]) -> Iterator[str]:
    yield f".SH {title}"
    for item in items:
        yield from _item(*item)


def _item(term: str, words: str) -> Iterator[str]:
    yield ".TP"
    yield ".B " + escaped(term)
    yield escaped(" ".join(words.split()))


def escaped(text: str) -> str:
    """A line of text for troff: nothing in it is a request or an escape, and hyphens can be copied."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{text}" if text[:1] in (".", "'") else text
