"""Groups from outside of the route file: the sources of ClusterShell's groups.conf, and Slurm's job.

`@slurm:job` are the hosts of the job in which Nile was started, unless
groups.conf has a source of that name. Looking one up reads ClusterShell's
configuration and may run a program that the site configured there (or Slurm's
scontrol); this file is the only one of the topology that does so.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from configparser import Error as ConfigError
from functools import cache

from ClusterShell.Defaults import config_paths
from ClusterShell.NodeSet import NodeSetException, ParsingEngine
from ClusterShell.NodeUtils import (
    GroupResolverConfig,
    GroupResolverError,
    GroupResolverSourceError,
    GroupSourceError,
    UpcallGroupSource,
)

from nile.topology.hostsets import HostSetError

SLURM, JOB = "slurm", "job"
JOB_HOSTS = "SLURM_JOB_NODELIST"
"""What Slurm sets in a job's environment: a host list, in the syntax of host sets."""

_REMEDY = "see ClusterShell's groups.conf, and try `cluset -f @GROUP` or `nodeset -f @GROUP`"


@cache
def _resolver(paths: tuple[str, ...]) -> GroupResolverConfig:
    return GroupResolverConfig(list(paths), set("@,!&^*"))


def system_groups(group: str, source: str | None) -> Sequence[str]:
    """The host sets of a group of groups.conf (`*`: of all hosts of the source); none where it is unknown.

    `source` None is the default source. Raises `HostSetError` for an unknown source or one that fails.
    """
    resolver = _resolver(tuple(config_paths("groups.conf")))
    name = f"@{source}:{group}" if source else f"@{group}"
    try:
        found = (
            ParsingEngine(resolver).all_nodes(source) if group == "*" else resolver.group_nodes(group, source)
        )
    except GroupResolverSourceError as error:
        if source is None:  # there is no groups.conf, or it has no default source
            return ()
        if source == SLURM:
            return _slurm(group)
        raise HostSetError(f"group {name} has an unknown source '{source}'", _REMEDY) from error
    except (GroupSourceError, GroupResolverError, NodeSetException, ConfigError, OSError) as error:
        raise HostSetError(
            f"group {name} can't be looked up: {error or type(error).__name__}", _REMEDY
        ) from error
    return [str(text) for text in found]


def _slurm(group: str) -> Sequence[str]:
    """The host sets of this job; by Slurm's own word where its programs are."""
    if group not in (JOB, "*"):
        raise HostSetError(
            f"group @{SLURM}:{group} is unknown", f"write @{SLURM}:{JOB}: the hosts of this job"
        )
    if not (hosts := os.environ.get(JOB_HOSTS, "")):
        raise HostSetError(
            f"there is no Slurm job here (${JOB_HOSTS} isn't set)", "start it in a job, by salloc or sbatch"
        )
    if not shutil.which("scontrol"):
        return (hosts,)
    try:  # without an argument it takes the same variable, and nothing has to be quoted
        found = UpcallGroupSource(SLURM, map_upcall="scontrol show hostnames").resolv_map(JOB)
    except GroupSourceError as error:
        raise HostSetError(f"`scontrol show hostnames` failed: {error}", f"see ${JOB_HOSTS}") from error
    return str(found).split()
