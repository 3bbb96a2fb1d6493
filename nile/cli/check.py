"""`nile check`: validate a route file, and plan all its hosts."""

from __future__ import annotations

from pathlib import Path

import click

BAD = 2


@click.command()
@click.argument("file", required=False)
@click.option("-r", "--routes", "option", metavar="FILE", help="The same as FILE; also lab[:NAME].")
def command(file: str | None, option: str | None) -> int:
    """Validate a route file: every error with line, column and remedy, then a plan of all its hosts.

    Without FILE the one that other commands would use is taken. Exit code 2 if it can't be used.
    """
    from nile.errors import PlanError, UsageError
    from nile.topology.places import find_route_file
    from nile.topology.plan import plan
    from nile.topology.routes import examine
    from nile.topology.textfile import read_text

    if file is not None and option is not None:
        raise UsageError("two files are named", remedy="give FILE or -r, not both")
    path = Path(file) if file is not None else find_route_file(option)
    if path is None:
        raise UsageError("there is no route file", remedy="name one, or write ./nile.yaml")
    routes, errors = examine(read_text(path), str(path))
    for error in errors:
        click.echo(str(error), err=True)
    if routes is None:
        click.echo(f"{path}: {_count(len(errors), 'error')}", err=True)
        return BAD
    asked = routes.everything()
    try:
        stages = max(node.stage for node in plan(routes, asked).nodes) if asked else 0
    except PlanError as error:
        click.echo(str(error), err=True)
        click.echo(f"{path}: its hosts can't be planned all together", err=True)
        return BAD
    counts = ((len(routes.hosts), "host"), (len(routes.groups), "group"), (stages, "stage"))
    click.echo(f"{path}: ok ({', '.join(_count(*one) for one in counts)})")
    return 0


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
