"""Extended attributes and ACLs of files, as rsync takes them (-X, -A), for where there is no rsync.

The kernel has ACLs as attributes too. An ACL names users and groups by number,
so these are other ones on another host.
"""

import errno
import os
import struct

from nile.agent.worker.archive import Owners
from nile.agent.worker.forking import Failure
from nile.agent.worker.scanning import group_names, user_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Dict, Iterable, Iterator, Optional, Set, Tuple, Union

    from nile.agent.worker.archive import Attributes, Looked

    Place = Union[bytes, int]

ACCESS, DEFAULT = b"system.posix_acl_access", b"system.posix_acl_default"
ACLS = (ACCESS, DEFAULT)
_SYSTEM, _USER, _LABEL = b"system.", b"user.", b"security.selinux"
_NONE = (errno.ENOTSUP, errno.ENODATA, errno.EPERM, errno.EACCES)  # where there are none, or none for us
_VERSION = struct.Struct("<I")
_ACE = struct.Struct("<HHI")  # tag, permissions, id
_NAMED_USER, _NAMED_GROUP = 2, 8


def can() -> bool:
    """Has this Python the calls for that? One for musl hasn't, before 3.11.3."""
    return hasattr(os, "listxattr")


def taken(place: bytes, xattrs: bool, acls: bool) -> "Attributes":
    """Those of a file that go with a copy; a link isn't followed."""
    if not can():
        return []
    try:
        names = [os.fsencode(name) for name in os.listxattr(place, follow_symlinks=False)]
    except OSError as error:
        if error.errno in _NONE:
            return []
        raise
    found = []
    for name in names:
        wanted = (name in ACLS and acls) if name.startswith(_SYSTEM) else xattrs
        if wanted:
            try:
                found.append((name, os.getxattr(place, name, follow_symlinks=False)))
            except OSError as error:
                if error.errno not in _NONE:
                    raise
    return found


def named(attributes: "Attributes") -> "Tuple[Set[int], Set[int]]":
    """Ids of the users and groups that ACLs among these speak of."""
    users: "Set[int]" = set()
    groups: "Set[int]" = set()
    for name, value in attributes:
        for tag, _, number in _entries(value) if name in ACLS else ():
            if tag in (_NAMED_USER, _NAMED_GROUP):
                (users if tag == _NAMED_USER else groups).add(number)
    return users, groups


def names_of(users: "Iterable[int]", groups: "Iterable[int]") -> Owners:
    """What these are called here, as far as they have names."""
    return Owners(user_names(users), group_names(groups))


def put(place: "Place", attributes: "Attributes", root: bool, follow: bool = False) -> None:
    """Give a file these, as whoever we are may: users have only those of theirs. Raises OSError, Failure."""
    for name, value in attributes:
        if _may(name, root):
            if not can():
                raise Failure("files", "the Python here can't set %s" % os.fsdecode(name))
            if isinstance(place, int):
                os.setxattr(place, name, value)
            else:
                os.setxattr(place, name, value, follow_symlinks=follow)


def _may(name: bytes, root: bool) -> bool:
    return name in ACLS or (root and not name.startswith(_SYSTEM)) or name.startswith(_USER)


def there(place: bytes, root: bool, follow: bool) -> "Dict[bytes, Optional[bytes]]":
    """Those of a file that `put` could give it; None for a value that we may not read. Raises OSError."""
    found: "Dict[bytes, Optional[bytes]]" = {}
    try:
        names = [os.fsencode(name) for name in os.listxattr(place, follow_symlinks=follow)] if can() else []
    except OSError as error:
        if error.errno not in _NONE:
            raise
        names = []
    for name in names:
        if _may(name, root):
            try:
                found[name] = os.getxattr(place, name, follow_symlinks=follow)
            except OSError as error:
                if error.errno not in _NONE:
                    raise
                found[name] = None
    return found


def differing(
    found: "Dict[bytes, Optional[bytes]]", wanted: "Attributes", root: bool, looked: "Looked"
) -> "Set[bytes]":
    """Names of those that are `there` and shouldn't be, or should be and aren't, or with another value.

    What the source wasn't looked at for may be there; and labels of SELinux always may.
    """
    expected = {name: value for name, value in wanted if _may(name, root)}
    wrong = {name for name, value in expected.items() if name not in found or found[name] != value}
    wrong.update(name for name in found if name not in expected and name != _LABEL)
    return {name for name in wrong if (looked.acls if name in ACLS else looked.xattrs)}


def without(place: bytes, names: "Iterable[bytes]", follow: bool) -> None:
    """Take these from a file. Raises OSError."""
    for name in names:
        os.removexattr(place, name, follow_symlinks=follow)


def without_any(place: int, root: bool) -> None:
    """Take from a file all that we can: whatever it got of its own accord. Raises OSError."""
    for name in map(os.fsencode, os.listxattr(place) if can() else []):
        if _may(name, root) and name != _LABEL:
            os.removexattr(place, name)


def without_inherited(place: int) -> None:
    """Have what is made in this directory get no ACL of its own accord."""
    for name in ACLS if can() else ():
        try:
            os.removexattr(place, name)
        except OSError as error:
            if error.errno not in _NONE:
                raise


def elsewhere(value: bytes, user: "Callable[[int], int]", group: "Callable[[int], int]") -> bytes:
    """This ACL where ids are other numbers: those that these give. Raises ValueError if it is none."""
    parts = [value[: _VERSION.size]]
    for tag, permissions, number in _entries(value):
        if tag in (_NAMED_USER, _NAMED_GROUP):
            number = user(number) if tag == _NAMED_USER else group(number)
        parts.append(_ACE.pack(tag, permissions, number))
    return b"".join(parts)


def _entries(value: bytes) -> "Iterator[Tuple[int, int, int]]":
    if len(value) < _VERSION.size or (len(value) - _VERSION.size) % _ACE.size:
        raise ValueError("an ACL that is none")
    return _ACE.iter_unpack(value[_VERSION.size :])
