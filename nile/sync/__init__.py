"""Copying trees of files to hosts: all decisions about it, pure (nile.cascade.work says who calls)."""

from nile.sync.course import Sync
from nile.sync.options import Ask, Method, Purpose, Quorum, SyncOptions
from nile.sync.releases import Deed, Releases, ReleasesOptions

__all__ = [
    "Ask",
    "Deed",
    "Method",
    "Purpose",
    "Quorum",
    "Releases",
    "ReleasesOptions",
    "Sync",
    "SyncOptions",
]
