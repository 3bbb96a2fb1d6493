"""How a command line ends: its exit code, and what is said on standard error.

Errors of the user's making (`NileError`, click's own) are a line or two; an
interrupt is 130; a reader that went away (`nile logs ... | head`) is silence
and 141, what a shell shows for SIGPIPE. Anything else is a bug: its traceback
goes to a file in the state directory, and the terminal gets one line that
says where (exit 70).
"""

from __future__ import annotations

import errno
import os
import select
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from nile import __version__
from nile.errors import BugError, NileError

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_BUG = 70
EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141

# The machine's state rather than a mistake of Nile, wherever they come up.
_MACHINE_ERRORS = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EIO,
    errno.EFBIG,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOMEM,
}


def run(group: click.Group, args: list[str]) -> int:
    """Run a command line to its end and give its exit code; raises nothing but SystemExit."""
    _make_output_robust()
    try:
        code = _invoke(group, args)
        if sys.stdout is not None:
            sys.stdout.flush()
    except SystemExit:
        raise
    except BaseException as error:  # everything ends here, on purpose
        return _quietly_if_unread(error, args)
    return code


def _invoke(group: click.Group, args: list[str]) -> int:
    """Not `group.main()`: that turns a broken pipe into exit 1 and an interrupt into "Aborted!"."""
    if instruction := os.environ.get("_NILE_COMPLETE"):
        from click.shell_completion import shell_complete

        from nile.cli.shells import serve_bash

        serve_bash()
        return shell_complete(group, {}, "nile", "_NILE_COMPLETE", instruction)
    try:
        with group.make_context("nile", args) as context:
            result = group.invoke(context)
    except click.exceptions.Exit as ended:
        return ended.exit_code
    return result if isinstance(result, int) else 0


def _make_output_robust() -> None:
    """A host's output must not end a run because the terminal's character set lacks a letter."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _quietly_if_unread(error: BaseException, args: Sequence[str]) -> int:
    """`end`, but for a reader that is gone there is nobody left to tell."""
    try:
        code = end(error, args)
    except OSError as unheard:
        code = EXIT_BROKEN_PIPE if isinstance(unheard, BrokenPipeError) else EXIT_FAILED
    _drop_unwritable_output()
    return code


def _drop_unwritable_output() -> None:
    """Let what is still buffered go nowhere: the interpreter would fail on it once more at exit."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            with Path(os.devnull).open("wb") as nowhere:
                os.dup2(nowhere.fileno(), stream.fileno())


def end(error: BaseException, args: Sequence[str]) -> int:
    """Say on standard error what ended the command, if anything needs saying; give the exit code."""
    causes = list(_leaves(error))
    if any(isinstance(cause, KeyboardInterrupt | click.Abort) for cause in causes):
        return EXIT_INTERRUPTED
    codes = [_end_of_user_error(cause) for cause in causes]
    if bugs := [cause for cause, code in zip(causes, codes, strict=True) if code is None]:
        _say(f"a bug in Nile: {type(bugs[0]).__name__}: {bugs[0]}", _write_down(error, args))
        return EXIT_BUG
    return max(code for code in codes if code is not None)


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """The errors inside exception groups (a TaskGroup wraps even a single one)."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


def _end_of_user_error(error: BaseException) -> int | None:
    """Report an error that is none of Nile's and give its exit code, or None for a bug."""
    if isinstance(error, NileError) and not isinstance(error, BugError):
        _say(str(error))
        return error.exit_code
    if isinstance(error, click.ClickException):
        _say_usage(error)
        return EXIT_USAGE
    if isinstance(error, BrokenPipeError) and (_reader_is_gone(1) or _reader_is_gone(2)):
        return EXIT_BROKEN_PIPE
    if isinstance(error, OSError) and error.errno in _MACHINE_ERRORS:
        _say(f"{error.filename or 'this machine'}: {error.strerror}")
        return EXIT_FAILED
    return None


def _say_usage(error: click.ClickException) -> None:
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
        return
    context = error.ctx if isinstance(error, click.UsageError) else None
    _say(error.format_message(), f"see `{context.command_path} --help`" if context else "")


def _say(text: str, remedy: str = "") -> None:
    click.echo(visible(f"nile: {text}" + (f"\n  {remedy}" if remedy else "")), err=True)


def visible(text: str) -> str:
    """The text with control characters, but line ends and tabs, written out: \\x1b for ESC."""
    return "".join(char if char.isprintable() or char in "\n\t" else _escaped(char) for char in text)


def _escaped(char: str) -> str:
    return f"\\x{ord(char):02x}" if ord(char) < 0x100 else f"\\u{ord(char):04x}"


def _reader_is_gone(descriptor: int) -> bool:
    """Whether a descriptor is a pipe or socket with nobody at its other end."""
    poll = select.poll()
    poll.register(descriptor, 0)
    return any(events & (select.POLLERR | select.POLLHUP) for _, events in poll.poll(0))


def _write_down(error: BaseException, args: Sequence[str]) -> str:
    """Write the traceback to a file of the user's own; say where it is."""
    import traceback

    text = (
        f"nile {__version__}, Python {sys.version}\nat {time.strftime('%Y-%m-%dT%H:%M:%S%z')}\n"
        f"arguments: {list(args)!r}\n\n{''.join(traceback.format_exception(error))}"
    )
    try:
        path = _private_file(text)
    except (OSError, RuntimeError) as problem:  # RuntimeError: there is no home directory
        return f"its traceback could not be written: {problem}"
    return f"please report it with its traceback, which is in {path}"


def _private_file(text: str) -> Path:
    """A new file that only the user can read, in the state directory or else the temporary one."""
    from nile.topology.places import state_directory

    try:
        directory = state_directory()
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(".txt", "crash-", directory)
    except (OSError, RuntimeError):
        descriptor, name = tempfile.mkstemp(".txt", "nile-crash-")
    os.close(descriptor)
    path = Path(name)
    path.write_text(text, encoding="utf-8", errors="backslashreplace")
    return path
