"""`nile completion`: what a shell needs to complete Nile's command lines."""

from __future__ import annotations

import os
from pathlib import Path

import click

from nile.errors import UsageError

SHELLS = ("bash", "zsh", "fish")

EXAMPLES = """\b
Examples:
  source <(nile completion bash)                                    for this shell
  nile completion bash > ~/.local/share/bash-completion/completions/nile
  nile completion zsh > ~/.zfunc/_nile      with fpath+=~/.zfunc before compinit in ~/.zshrc
  nile completion fish > ~/.config/fish/completions/nile.fish
"""


@click.command("completion", epilog=EXAMPLES)
@click.argument("shell", type=click.Choice(SHELLS), required=False)
def command(shell: str | None) -> None:
    """Print a script that has SHELL (by default yours) complete Nile's commands, options, runs and groups."""
    from click.shell_completion import get_completion_class

    from nile.cli import commands
    from nile.cli.shells import serve_bash

    serve_bash()
    shell = shell or Path(os.environ.get("SHELL", "")).name
    if shell not in SHELLS:
        remedy = f"name one of {', '.join(SHELLS)}"
        raise UsageError(f"your shell, '{shell}', is none that can be served", remedy=remedy)
    kind = get_completion_class(shell)
    assert kind is not None, f"click knows {shell}"
    # Not `source()`: that runs bash to look at its version, which may be another bash than the user's.
    script = kind(commands, {}, "nile", "_NILE_COMPLETE")
    click.echo(script.source_template % script.source_vars())
