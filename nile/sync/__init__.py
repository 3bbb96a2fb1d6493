"""Copying trees of files to hosts: all decisions about it, pure (nile.cascade.work says who calls)."""

from nile.sync.course import Sync
from nile.sync.gathering import Gather
from nile.sync.options import Ask, GatherOptions, Method, Purpose, Quorum, SyncOptions
from nile.sync.paths import Paths
from nile.sync.releases import Deed, Releases, ReleasesOptions
from nile.sync.repos import Repos

__all__ = [
    "Ask",
    "Deed",
    "Gather",
    "GatherOptions",
    "Method",
    "Paths",
    "Purpose",
    "Quorum",
    "Releases",
    "ReleasesOptions",
    "Repos",
    "Sync",
    "SyncOptions",
]
