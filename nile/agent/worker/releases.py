"""Releases side by side in a destination, and which of them is current.

    DEST/releases/NAME               a release; it has this name since it was found equal to its source
    DEST/releases/.nile-making-NAME  one that isn't whole yet: the next run that delivers it takes it up
    DEST/current                     -> releases/NAME
    DEST/previous                    -> what was current before
    DEST/releases/.nile-made         when each of them got its name: by that it is told which are the latest
    DEST/releases/.nile-flip         the last flip: from what, to what, of which run, and whether it is over

A flip is the change of `current`, by a rename: whoever looks sees the old one or
the new one. It is written down before (staged), and again once the root has
confirmed it: so a host whose root died in between can tell whether it flipped.
Nothing here but `look` may be done without the lock of the destination.
"""

import errno
import json
import os
import stat
import time
from typing import NamedTuple

from nile.agent.worker import ages, durable, naming
from nile.agent.worker.inuse import in_use
from nile.agent.worker.messages import CantError
from nile.agent.worker.naming import AS_IS, END_IT
from nile.agent.worker.removing import remove_tree
from nile.agent.worker.target import mount_points
from nile.agent.worker.working import WORK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional, Set, Tuple

MOST_FLIP = 10000  # bytes of what is written down of a flip


class Refused(CantError):
    """The releases of this host don't allow it: a reason, and a remedy."""

    def __init__(self, reason: str, remedy: str = "") -> None:
        super().__init__("release", reason, remedy)


class Flip(NamedTuple):
    """A change of `current`: names of releases, "" for none; `before` is what `previous` was.

    `back`: it was to that which was current before, because that was what was asked for. `first`: the
    run that began it, where `run` has taken it up.
    """

    origin: str
    to: str
    before: str
    run: str
    done: bool = False
    back: bool = False
    first: str = ""

    def words(self) -> str:
        """Which one it is."""
        return "from %s to %s" % (self.origin or "none", self.to)


class Look(NamedTuple):
    """What is there. `names` are whole, the latest first; `half` aren't."""

    current: str
    previous: str
    names: "List[str]"
    half: "List[str]"
    flip: "Optional[Flip]"


class Releases:
    """Those of one destination. Methods raise Refused, and OSError."""

    def __init__(self, dest: bytes) -> None:
        self.dest = dest
        self.place = os.path.join(dest, naming.RELEASES)
        self._earlier: "Optional[Flip]" = None
        self._staged = False

    # What is there.

    def look(self) -> Look:
        """All of it."""
        return Look(self.current(), self.previous(), self.names(), self.half(), self.flip())

    def current(self) -> str:
        """The current release, "" where there is none."""
        return self._leads_to(naming.CURRENT)

    def previous(self) -> str:
        """The one before it."""
        return self._leads_to(naming.PREVIOUS)

    def _leads_to(self, link: bytes) -> str:
        path = os.path.join(self.dest, link)
        try:
            leads = os.readlink(path)
        except FileNotFoundError:
            return ""
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            raise Refused("'%s' is no symbolic link" % os.fsdecode(path), "move it away") from None
        for start in (naming.RELEASES + b"/", self.place + b"/"):
            name = os.fsdecode(leads[len(start) :])
            if leads.startswith(start) and naming.is_name(name):
                return name
        text = "'%s' leads to '%s', which is no release below %s"
        text = text % (os.fsdecode(path), os.fsdecode(leads), os.fsdecode(self.place))
        raise Refused(text, "move it away")

    def names(self) -> "List[str]":
        """Releases that are whole; the one that became it last is first."""
        made = self._made()
        return sorted(made, key=lambda name: (made[name], name), reverse=True)

    def _made(self) -> "Dict[str, int]":
        """When each of them became whole. Where that isn't known: when its directory last changed."""
        known, found = ages.known(self.place), {}
        for name, path in self._listed(b""):
            try:
                about = os.lstat(path)
            except FileNotFoundError:
                continue  # another run removes old ones just now
            if stat.S_ISDIR(about.st_mode):
                found[name] = known.get(name, about.st_ctime_ns)
        return found

    def half(self) -> "List[str]":
        """Releases that aren't."""
        return sorted(name for name, _ in self._listed(naming.MAKING))

    def _listed(self, start: bytes) -> "List[Tuple[str, bytes]]":
        try:
            listed = os.listdir(self.place)
        except (FileNotFoundError, NotADirectoryError):
            return []
        found = [(os.fsdecode(name[len(start) :]), name) for name in listed if name.startswith(start)]
        return [(name, os.path.join(self.place, entry)) for name, entry in found if naming.is_name(name)]

    def is_whole(self, name: str) -> bool:
        """Is there such a release? Raises Refused where something else has its name."""
        try:
            mode = os.lstat(naming.whole(self.dest, name)).st_mode
        except (FileNotFoundError, NotADirectoryError):
            return False
        if not stat.S_ISDIR(mode):
            shown = os.fsdecode(naming.whole(self.dest, name))
            raise Refused("'%s' is no directory" % shown, "move it away, or give another name")
        return True

    def flip(self) -> "Optional[Flip]":
        """The last one, if it is known."""
        try:
            said = json.loads(durable.read(os.path.join(self.place, naming.FLIP), MOST_FLIP).decode())
            flip = Flip(said["origin"], said["to"], said["before"], str(said["run"]), said["done"] is True)
            flip = flip._replace(back=said.get("back") is True, first=str(said.get("first", "")))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (ValueError, KeyError, TypeError):
            flip = None
        except OSError as error:
            if error.errno not in (errno.ELOOP, errno.ENXIO):  # a link; a socket
                raise
            flip = None
        if flip is None or not all(name == "" or naming.is_name(name) for name in flip[:3]):
            shown = os.fsdecode(os.path.join(self.place, naming.FLIP))
            raise Refused("'%s' can't be understood" % shown, "remove it, if `current` is as it should be")
        return flip

    def interrupted(self) -> "Optional[Flip]":
        """One that was begun, and of which nobody has said that it is over."""
        flip = self.flip()
        return flip if flip is not None and not flip.done else None

    # What is done.

    def seal(self, name: str) -> None:
        """It is whole: from now on it has its name. Nothing happens where it has."""
        if self.is_whole(name):
            return
        durable.to_disk()
        made = self._made()
        made[name] = max(
            [int(time.time() * 1e9), *(1 + at for at in made.values())]
        )  # clocks may be set back
        ages.write(self.place, made)
        os.rename(naming.making(self.dest, name), naming.whole(self.dest, name))
        durable.sync(self.place)

    def stage(self, to: str, run: str, back: bool = False) -> None:
        """Write down that `current` will be this one: with `back`, since it was current before.

        One that was interrupted is taken up where it leads to the same. One that went `back` isn't
        gone back from: that would be forward.
        """
        self._earlier = self.flip()
        earlier = self.interrupted()
        if earlier is not None and (earlier.to != to or (back and not earlier.back)):
            raise Refused("a flip %s was interrupted" % earlier.words(), END_IT)
        current, before = self.current(), self.previous()
        if back and earlier is None and (not to or to not in (current, before)):
            reason = "the release before is %s, and not %s" % (before, to)
            raise Refused(reason if before else "there is no previous release", "name one by --to")
        if not self.is_whole(to):
            raise Refused("there is no release %s" % to, "see `nile releases` for those that there are")
        self._staged = earlier is not None or current != to
        if earlier is not None:
            self._write(earlier._replace(run=run, first=earlier.first or earlier.run))
        elif self._staged:
            self._write(Flip(current, to, before, run, back=back))

    def unstage(self) -> None:
        """It won't be: as if nothing had been staged here."""
        if self._staged and self._earlier is not None:
            self._write(self._earlier)
        elif self._staged:
            self._forget()
        self._staged = False

    def switch(self) -> None:
        """Flip as it is written down; nothing happens where that is done, or nothing is to be done."""
        flip = self.interrupted()
        if flip is None:
            return
        current = self.current()
        if current not in (flip.origin, flip.to):
            raise self._crossed(flip)
        if not self.is_whole(flip.to):
            remedy = "take it back by `nile releases --rollback`, or bring it by `nile sync --release %s`"
            raise Refused("there is no release %s any more" % flip.to, remedy % flip.to)
        if current != flip.to:
            self._lead(naming.CURRENT, flip.to)
        if flip.origin:
            self._lead(naming.PREVIOUS, self._if_whole(flip.origin))

    def confirm(self) -> None:
        """The flip is over."""
        flip = self.interrupted()
        if flip is not None:
            self._write(flip._replace(done=True))

    def undo(self, run: str) -> None:
        """What is current is again what was before the flip of this run, over or not."""
        flip = self.flip()
        if flip is None or flip.run != run:
            raise Refused("no flip of that run is known here")
        if self.current() not in (flip.origin, flip.to):
            raise self._crossed(flip)
        if flip.origin and not self.is_whole(flip.origin):
            remedy = "name another by `nile rollback --to`"
            if not flip.done:
                remedy = "go through with it by `nile releases --finish`"
                if not self.is_whole(flip.to):
                    remedy = "bring %s by `nile sync --release %s`" % (flip.to, flip.to)
            raise Refused("there is no release %s any more" % flip.origin, remedy)
        self._lead(naming.CURRENT, flip.origin)
        self._lead(naming.PREVIOUS, self._if_whole(flip.before))
        self._write(Flip(flip.to, flip.origin, flip.before, "", True))  # of no run: nobody takes it back

    def _if_whole(self, name: str) -> str:
        """It, or "" where it is gone: no link of ours is to lead nowhere."""
        return name if name and self.is_whole(name) else ""

    def _crossed(self, flip: Flip) -> Refused:
        reason = "a flip %s was made, and current is %s since: somebody has changed it"
        remedy = "name what it is to be, by `nile rollback --to`"
        if not flip.done:
            reason = "a flip %s was interrupted, and current is %s: somebody has changed it"
            remedy = AS_IS
        return Refused(reason % (flip.words(), self.current() or "none"), remedy)

    def leave(self) -> None:
        """What is current stays so: a flip that was interrupted is over, wherever it was to lead."""
        if self.interrupted() is not None:
            current = self.current()
            self._write(Flip(current, current, self.previous(), "", True))

    def prune(self, keep: int) -> "List[str]":
        """Remove all but so many of the latest ones, and whatever isn't whole; gives the names.

        One that can't be removed keeps none of the others; then the first such OSError is raised.
        Never the current or the previous one, nor what a flip that isn't over
        speaks of, nor one that a process works in.
        """
        look = self.look()
        needed = {look.current, look.previous}
        if look.flip is not None and not look.flip.done:
            needed.update(look.flip[:3])
        doomed = {naming.whole(self.dest, name): name for name in look.names[keep:] if name not in needed}
        used, mounts = in_use(doomed), mount_points()
        going = [path for start in (naming.GONE, naming.MAKING) for _, path in self._listed(start)]
        going += [path for path in doomed if path not in used]
        removed, failures = [], []
        for path in going:
            if _has_mount(path, mounts):
                continue
            try:
                self._remove(path, doomed.get(path, ""))
            except OSError as error:
                failures.append(error)
            else:
                removed.append(doomed.get(path, ""))
        if failures:
            raise failures[0]
        return [name for name in removed if name]

    def _remove(self, path: bytes, name: str) -> None:
        """A release called so, which no longer is called so from the beginning; or what is no release."""
        gone = os.path.join(self.place, naming.GONE + name.encode()) if name else path
        if name:
            os.rename(path, gone)
        _remove(gone)

    # Helpers.

    def _lead(self, link: bytes, name: str) -> None:
        """Have a link lead to a release, in one step; to "": take it away."""
        path = os.path.join(self.dest, link)
        if name:
            new = os.path.join(self.dest, b".nile-new-" + link)
            durable.no_file(new)
            os.symlink(os.path.join(naming.RELEASES, name.encode()), new)
            os.rename(new, path)
        else:
            durable.no_file(path)
        durable.sync(self.dest)

    def _write(self, flip: Flip) -> None:
        durable.write(os.path.join(self.place, naming.FLIP), json.dumps(flip._asdict()).encode() + b"\n")

    def _forget(self) -> None:
        durable.no_file(os.path.join(self.place, naming.FLIP))
        durable.sync(self.place)


def _has_mount(path: bytes, mounts: "Set[bytes]") -> bool:
    """Is anything mounted in it? What that is isn't ours to remove."""
    real = os.path.realpath(path)
    return any(mount == real or mount.startswith(real + b"/") for mount in mounts)


def _remove(path: bytes) -> None:
    """A tree, also where its directories are read-only; raises the OSError that keeps it from that."""
    if not stat.S_ISDIR(os.lstat(path).st_mode):
        os.unlink(path)
        return
    if os.geteuid():
        os.chmod(path, 0o700)
        for place, directories, files in os.walk(path):
            WORK.done += len(directories) + len(files)
            for name in directories:
                below = os.path.join(place, name)
                if not os.path.islink(below):
                    os.chmod(below, 0o700)
    remove_tree(path)


def fields(look: Look) -> "Dict[str, Any]":
    """What there is, as `nile.agent.wire.dumps` takes it."""
    said = dict(look._asdict())
    said["flip"] = dict(look.flip._asdict()) if look.flip is not None else None
    return said
