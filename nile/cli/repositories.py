"""`nile sync` and `nile verify` for the repositories of a file, in one run."""

from __future__ import annotations

import os
import secrets
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nile.cli.common import Selection, SelectionOptions, select
from nile.cli.copying import places, refuse_to_delete_for_files, run
from nile.cli.swarmoptions import among
from nile.errors import UsageError

if TYPE_CHECKING:
    from nile.controller import MakeJob
    from nile.sync import SyncOptions
    from nile.topology.repositories import Repository

    Share = tuple[SyncOptions, frozenset[str]]


def run_repositories(
    selection: SelectionOptions, paths: tuple[str, ...], how: SyncOptions, given: dict[str, Any]
) -> int:
    """Do to each of them what `how` says; the exit code."""
    from nile.bootstrap.authority import Authority
    from nile.bootstrap.identity import make_identity
    from nile.sync import Paths, Repos

    if paths:
        remedy = "leave SRC and DEST out, or write them into the file"
        raise UsageError("the repositories are those of the file", where="--repos", remedy=remedy)
    chosen = select(selection)
    how = replace(how, seeders=among(given.get("seeders", ()), chosen))
    shares = repositories(Path(given["repos"]), chosen, how)

    def job(run_id: str) -> MakeJob:
        return lambda neighbours, tree: Repos(
            shares,
            run_id,
            tree,
            Paths(neighbours),
            partial(secrets.token_bytes, 32),
            make_identity,
            Authority,
        )

    return run(chosen, job, given, swarms=how.swarms)


def repositories(file: Path, chosen: Selection, how: SyncOptions) -> list[Share]:
    """What to copy, and to whom; those that no chosen host gets are left out. Raises `UsageError`."""
    from nile.topology.repositories import read_repositories

    expand = chosen.routes.host_sets().expand
    shares = [
        (_options(file, each, how), names)
        for each in read_repositories(file)
        if (names := each.names(expand, chosen.hosts))
    ]
    got = frozenset[str]().union(*(names for _, names in shares))
    if left := [host for host in chosen.hosts if host not in got]:
        more = f" and {len(left) - 1} more" if len(left) > 1 else ""
        remedy = "give them one, or choose other hosts"
        raise UsageError(f"{left[0]}{more} would get no repository", where=str(file), remedy=remedy)
    return shares


def _options(file: Path, each: Repository, how: SyncOptions) -> SyncOptions:
    from nile.topology.repositories import refused

    above = file.absolute().parent
    found: list[bytes] = []
    dest = b""
    for word in each.source:
        path = os.path.join(above, word.text)  # noqa: PTH118  (a Path has no trailing slash)
        try:
            sources, dest = places((path, each.dest.text))
        except UsageError as error:
            at = each.dest if error.where == "DEST" else word
            raise refused(at, error.message, error.remedy or "") from error
        found += sources
    if how.delete and how.purpose != "verify":
        try:
            refuse_to_delete_for_files(tuple(found))
        except UsageError as error:
            raise refused(each.source[0], error.message, error.remedy or "") from error
    excludes = how.excludes + tuple(os.fsencode(word.text) for word in each.exclude)
    return replace(how, sources=tuple(found), dest=dest, excludes=excludes)
