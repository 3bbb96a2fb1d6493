"""Whose a file is to be, as rsync has it: by name, by number, or as it was asked for."""

import grp
import os
import pwd

from nile.agent.worker import attributes
from nile.agent.worker.forking import Failure
from nile.agent.worker.scanning import numbers_here

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Dict, Tuple, Union

    from nile.agent.worker.archive import Owners
    from nile.agent.worker.manifest import Entry

_KEEP = -1


class Ownership:
    """Raises Failure where `chown` ("user:group", one of which may be left out) names somebody unknown."""

    def __init__(self, numeric_ids: bool, chown: str) -> None:
        self._numeric = numeric_ids
        self._users: "Dict[int, int]" = {}
        self._groups: "Dict[int, int]" = {}
        user, _, group = chown.partition(":")
        self._user = _number(user, lambda name: pwd.getpwnam(name).pw_uid)
        self._group = _number(group, lambda name: grp.getgrnam(name).gr_gid)
        self._root = os.geteuid() == 0
        self._own = {os.getegid(), *os.getgroups()}

    def learn(self, owners: "Owners") -> None:
        """What ids are called at the source."""
        if not self._numeric:
            users, groups = numbers_here(owners.users, owners.groups)
            self._users.update(users)
            self._groups.update(groups)

    def give(self, place: "Union[bytes, int]", entry: "Entry", follow: bool = False) -> None:
        """Have the file there belong to whom it should. Raises OSError."""
        uid, gid = self._wanted(entry)
        if (uid, gid) == (_KEEP, _KEEP):
            return
        if isinstance(place, int):
            os.chown(place, uid, gid)
        else:
            os.chown(place, uid, gid, follow_symlinks=follow)

    def is_right(self, entry: "Entry", seen: os.stat_result) -> bool:
        """Does what is seen belong to whom it should, as far as we may change that?"""
        uid, gid = self._wanted(entry)
        return uid in (_KEEP, seen.st_uid) and gid in (_KEEP, seen.st_gid)

    def _wanted(self, entry: "Entry") -> "Tuple[int, int]":
        uid, gid = self._uid(entry.uid), self._gid(entry.gid)
        if self._root:
            return uid, gid
        return _KEEP, gid if gid in self._own else _KEEP

    def acl(self, value: bytes) -> bytes:
        """An ACL, with the numbers of here."""
        return attributes.elsewhere(value, self._uid, self._gid)

    def _uid(self, uid: int) -> int:
        return self._user if self._user != _KEEP else self._users.get(uid, uid)

    def _gid(self, gid: int) -> int:
        return self._group if self._group != _KEEP else self._groups.get(gid, gid)


def _number(name: str, find: "Callable[[str], int]") -> int:
    if not name:
        return _KEEP
    if name.isdigit():
        return int(name)
    try:
        return find(name)
    except KeyError:
        raise Failure("files", "nobody is called '%s' here" % name) from None
