"""Copying trees of files to hosts: all decisions about it, pure (nile.cascade.work says who calls)."""

from nile.sync.course import Sync
from nile.sync.options import Ask, Method, Purpose, SyncOptions

__all__ = ["Ask", "Method", "Purpose", "Sync", "SyncOptions"]
