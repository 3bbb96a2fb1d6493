"""The directory that is written to: whether it may be, what is made in it, how much fits.

Nothing here deletes but what Nile made: directories that are still empty, and
temporary ones.
"""

import errno
import os
import pwd
import stat

from nile.agent.worker import naming
from nile.agent.worker.lock import in_use
from nile.agent.worker.manifest import TEMPORARY
from nile.agent.worker.receiving import see_placed
from nile.agent.worker.removing import remove_tree
from nile.agent.worker.tuples import NamedTuple
from nile.agent.worker.walking import listing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, List, Match, Optional, Set, Tuple

    from nile.agent.worker.lock import Lock

MOST_LINKS = 40  # that one path goes through, as the kernel has it
_RUN = r"[A-Za-z0-9][A-Za-z0-9._-]{0,100}\Z"
_TOPS = "bin boot dev etc home lib lib32 lib64 libx32 media mnt opt proc root run sbin srv sys tmp usr var"
_BELOW_USR = "bin games include lib lib32 lib64 libexec libx32 local sbin share src tmp"
_BELOW_VAR = "cache crash db lib local lock log mail opt run spool tmp"
_BELOW_LOCAL = "bin etc include lib lib64 libexec sbin share src"
SYSTEM = frozenset(
    os.fsencode(above + name)
    for above, names in (
        ("/", _TOPS),
        ("/usr/", _BELOW_USR),
        ("/usr/local/", _BELOW_LOCAL),
        ("/var/", _BELOW_VAR),
    )
    for name in names.split()
)

_REMEDIES = {
    errno.EROFS: "mount it for writing",
    errno.ENOSPC: "make room there",
    errno.EDQUOT: "make room there, or raise the quota",
}


class Refusal(NamedTuple):
    """Why a directory isn't written to: a code for programs, and texts for people.

    Codes: path, root, release, home, system, mount, file, unwritable.
    """

    code: str
    text: str
    remedy: str


class Space(NamedTuple):
    """What is free for this user; `inodes` is None where the file system doesn't count them."""

    bytes: int
    inodes: "Optional[int]"


def refuse(dest: bytes, delete: bool) -> "Optional[Refusal]":
    """Why nothing may be written there, or with `delete` why nothing may be deleted there; None if it may."""
    return (
        _bad_path(dest)
        or _released(dest)
        or (_precious(dest) if delete else None)
        or _no_directory(dest)
        or _unwritable(dest)
    )


def _bad_path(dest: bytes) -> "Optional[Refusal]":
    shown = os.fsdecode(dest)
    if not dest.startswith(b"/") or b"\0" in dest:
        return Refusal("path", "the destination '%s' is no absolute path" % shown, "begin it with a /")
    if os.path.realpath(dest) == b"/" or not dest.strip(b"/"):
        return Refusal("root", "the destination is the root directory", "name a directory below it")
    if os.path.normpath(dest) != dest or dest.startswith(b"//"):
        plain = os.fsdecode(b"/" + os.path.normpath(dest).lstrip(b"/"))
        return Refusal(
            "path", "the destination '%s' isn't plain" % shown, "say '%s', if you mean that" % plain
        )
    return None


def _released(dest: bytes) -> "Optional[Refusal]":
    """A release is whole, shares files with those before, and was found equal on all hosts."""
    link, path = _link_to_release(dest), os.path.realpath(dest)
    release = link[1] if link is not None else _release_of(path)
    if release is None:
        return None
    shown, how = dest, "belongs to the release '%s'" % os.fsdecode(release)
    if link is not None:
        shown, how = link[0], "leads to the release '%s'" % os.fsdecode(release)
    elif path in (release, os.path.dirname(release)):
        how = "is a release" if path == release else "is where releases are"
    text = "'%s' %s, and a release is never changed: it shares files with others" % (os.fsdecode(shown), how)
    place = os.fsdecode(os.path.dirname(os.path.dirname(release)))
    return Refusal("release", text, "deliver a new one to '%s', by --release NAME" % place)


def _release_of(path: bytes) -> "Optional[bytes]":
    """The release that this is, or is in; some name below where Nile keeps releases, for that directory."""
    below = os.path.join(path, b"any")
    while below != b"/":
        place = os.path.dirname(below)
        if os.path.basename(place) == naming.RELEASES and os.path.lexists(os.path.join(place, naming.FLIP)):
            return below
        below = place
    return None


def _link_to_release(dest: bytes) -> "Optional[Tuple[bytes, bytes]]":
    """The `current` or `previous` that Nile keeps, and its release, where this path is or goes through it."""
    place, left, links = b"/", dest.split(b"/"), 0
    while left and links < MOST_LINKS:
        path = os.path.normpath(os.path.join(place, left.pop(0)))
        try:
            leads = os.readlink(path)
        except OSError:
            place = path  # no link, or not there yet
            continue
        links += 1
        if os.path.basename(path) in (naming.CURRENT, naming.PREVIOUS):
            releases = os.path.realpath(os.path.join(place, naming.RELEASES))
            release = os.path.realpath(path)
            ours = os.path.lexists(os.path.join(releases, naming.FLIP))
            if ours and os.path.dirname(release) == releases:
                return path, release
        place = b"/" if leads.startswith(b"/") else place
        left = leads.split(b"/") + left
    return None


def _precious(dest: bytes) -> "Optional[Refusal]":
    """What nobody wants emptied: judged by the name that was given, and by where it leads."""
    remedy = "name a directory of its own below it, or leave --delete out"
    homes = _homes()
    for path in (dest, os.path.realpath(dest)):
        shown = os.fsdecode(path)
        if path in SYSTEM:
            return Refusal("system", "'%s' is a system directory: nothing is deleted there" % shown, remedy)
        if path in homes or os.path.dirname(path) == b"/home":  # where not all users can be listed
            owner = homes.get(path) or os.path.basename(shown)
            text = "'%s' is the home directory of %s: nothing is deleted there" % (shown, owner)
            return Refusal("home", text, remedy)
        if os.path.ismount(path) or path in mount_points():
            return Refusal("mount", "'%s' is a mount point: nothing is deleted there" % shown, remedy)
    return None


def _homes() -> "Dict[bytes, str]":
    """Home directories by path, as they are written and where that leads, and whose they are."""
    found = {}
    for entry in pwd.getpwall():
        found[os.fsencode(entry.pw_dir)] = entry.pw_name
    own = os.environb.get(b"HOME", b"")
    if own:
        found[own] = "this user"
    for home, user in list(found.items()):
        if home.startswith(b"/"):
            found.setdefault(os.path.realpath(home), user)
    return found


def mount_points() -> "Set[bytes]":
    """Mount points as the kernel knows them: a directory bound over another of its own file system too."""
    import re  # it isn't asked where nothing is to be deleted

    try:
        with open("/proc/self/mountinfo", "rb") as file:
            fields = [line.split(b" ", 5) for line in file]
    except OSError:
        return set()
    return {re.sub(rb"\\([0-7]{3})", _octal, field[4]) for field in fields if len(field) > 5}


def _octal(found: "Match[bytes]") -> bytes:
    return bytes([int(found.group(1), 8)])


def _no_directory(dest: bytes) -> "Optional[Refusal]":
    place = dest
    while not os.path.lexists(place):
        place = os.path.dirname(place)
    if os.path.isdir(place):
        return None
    shown = os.fsdecode(place)
    if not os.path.exists(place):
        text, remedy = (
            "'%s' is a symbolic link that leads nowhere" % shown,
            "remove it, or make what it names",
        )
    elif place == dest:
        text, remedy = "the destination '%s' is a file" % shown, "remove it, or name a directory"
    else:
        text, remedy = (
            "'%s', above the destination, is a file" % shown,
            "remove it, or name another directory",
        )
    return Refusal("file", text, remedy)


def _unwritable(dest: bytes) -> "Optional[Refusal]":
    place = nearest(dest)
    try:
        if place == dest:
            _try_writing(place)
        if not os.access(place, os.W_OK | os.X_OK, effective_ids=True):
            raise OSError(errno.EROFS if os.statvfs(place).f_flag & os.ST_RDONLY else errno.EACCES, "")
    except OSError as error:
        number = error.errno or errno.EACCES
        text = "can't write to '%s': %s" % (os.fsdecode(place), os.strerror(number))
        remedy = _REMEDIES.get(number) or "let user %s write there, or log in as another" % _user(
            os.geteuid()
        )
        return Refusal("unwritable", text, remedy)
    return None


def _try_writing(place: bytes) -> None:
    """Make a directory there and remove it; the directory's own time stays as it was."""
    name = os.path.join(place, TEMPORARY + b"probe-%d-%b" % (os.getpid(), os.urandom(4).hex().encode()))
    with Unnoticed(place):
        os.mkdir(name, 0o700)
        os.rmdir(name)


class Unnoticed:
    """While we work in a directory: its times are put back behind us, where we may."""

    def __init__(self, place: bytes) -> None:
        self._place = place
        self._before = os.stat(place)

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        try:
            if os.stat(self._place).st_mtime_ns != self._before.st_mtime_ns:
                os.utime(self._place, ns=(self._before.st_atime_ns, self._before.st_mtime_ns))
        except OSError:
            pass  # somebody else's directory


class Prepared:
    """A destination with the directories that were made for it, outermost first."""

    def __init__(self, dest: bytes, made: "List[bytes]") -> None:
        self.dest = dest
        self.made = made

    def undo(self) -> None:
        """Remove what was made and is still empty."""
        while self.made:
            try:
                os.rmdir(self.made.pop())
            except OSError:
                pass  # in use, or gone


def prepare(dest: bytes, create: bool) -> Prepared:
    """Make the directories that are missing, if `create` says so; raises OSError, and then none is left."""
    prepared = Prepared(dest, [])
    missing = []
    place = dest
    while create and not os.path.isdir(place):
        missing.append(place)
        place = os.path.dirname(place)
    for place in reversed(missing):
        try:
            os.mkdir(place, 0o755)
        except FileExistsError:
            if not os.path.isdir(place):
                prepared.undo()
                raise
        except OSError:
            prepared.undo()
            raise
        else:
            prepared.made.append(place)
    return prepared


def nearest(dest: bytes) -> bytes:
    """The directory itself, or the nearest one above it that exists."""
    while not os.path.isdir(dest):
        dest = os.path.dirname(dest)
    return dest


def space(dest: bytes) -> Space:
    """What is free there, or where it would be made; raises OSError."""
    found = os.statvfs(nearest(dest))
    return Space(found.f_bavail * found.f_frsize, found.f_favail if found.f_files else None)


def temporary(dest: bytes, run: str) -> bytes:
    """Make this run's own directory in the destination, empty and for this user only; raises OSError."""
    import re

    if not re.match(_RUN, run):
        raise ValueError("%r is no name of a run" % run)
    path = os.path.join(dest, TEMPORARY + os.fsencode(run))
    with Unnoticed(dest):
        _remove(path)
        os.mkdir(path, 0o700)
    return path


def clean(lock: "Lock") -> "List[bytes]":
    """Remove the temporary directories that runs have left in a destination; gives their paths.

    Of a run that was killed while it gave names to what had come whole, the others get theirs first.
    Only while its lock is held: all runs that wrote there are dead then. The
    lock of a directory further down is respected: it has a run of its own.
    What can't be removed stays.
    """
    if not lock.held:
        raise RuntimeError("another run may be at work")
    removed = []
    for place, name in _left_behind(lock.dest):
        path = os.path.join(place, name)
        try:
            see_placed(place, name)
            with Unnoticed(place):
                _remove(path)
        except OSError:
            continue
        removed.append(path)
    return removed


def _left_behind(dest: bytes) -> "List[Tuple[bytes, bytes]]":
    """(directory, name) of temporary ones; doesn't follow links, nor go where another run has its lock."""
    found = []
    device = os.stat(dest).st_dev
    left = [dest]
    while left:
        place = left.pop()
        try:
            listed = listing(place) if os.stat(place).st_dev == device else []
        except OSError:
            continue
        for entry in listed:
            if entry.name.startswith(TEMPORARY):
                found.append((place, entry.name))
            elif entry.is_dir(follow_symlinks=False):
                left.append(entry.path)
    # A run further up may have its own ones anywhere below it, ours included.
    used = {dest: _within_another(os.path.dirname(os.path.realpath(dest)), {})}
    return [(place, name) for place, name in found if not _within_another(place, used)]


def _within_another(place: bytes, used: "Dict[bytes, bool]") -> bool:
    """Whether this directory or one above it is locked; `used` says it of those that were asked."""
    if place not in used:
        used[place] = in_use(place) or (place != b"/" and _within_another(os.path.dirname(place), used))
    return used[place]


def _remove(path: bytes) -> None:
    """A tree, or whatever has this name; nothing is followed."""
    try:
        if stat.S_ISDIR(os.lstat(path).st_mode):
            remove_tree(path)
        else:
            os.unlink(path)
    except FileNotFoundError:
        pass
    except RecursionError:
        raise OSError(errno.ENAMETOOLONG, "deeper than can be removed") from None


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
