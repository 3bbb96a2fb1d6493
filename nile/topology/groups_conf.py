"""Groups from outside of the route file: the sources of ClusterShell's groups.conf.

Looking one up reads ClusterShell's configuration and may run a program that the
site configured there; this file is the only one of the topology that does so.
"""

from __future__ import annotations

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
)

from nile.topology.hostsets import HostSetError

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
        raise HostSetError(f"group {name} has an unknown source '{source}'", _REMEDY) from error
    except (GroupSourceError, GroupResolverError, NodeSetException, ConfigError, OSError) as error:
        raise HostSetError(
            f"group {name} can't be looked up: {error or type(error).__name__}", _REMEDY
        ) from error
    return [str(text) for text in found]
