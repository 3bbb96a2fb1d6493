"""Which rsync there is, how it is called at both ends, and what its end means.

As rsync is always called here, it writes everything that is unfinished to
directories of one name, `.nile-sync-RUN`: the temporary files to
DEST/NAME/NAME, and what is complete but waits for the end (--delay-updates,
which keeps it in the "partial" directories) to NAME in each file's own
directory. So no real name ever holds half a file, whoever is killed when, and
one walk that removes these directories leaves nothing of ours. The one in the
other keeps rsync from removing the first before its time, and can't be the
name of a file that waits there, since NAME is left out of every transfer.
"""

import _signal as signal
import errno
import os
import select
import time

from nile.agent import processes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, FrozenSet, List, Optional, Sequence, Tuple, Union

    Version = Tuple[int, int, int]

REMEDY = "install the package 'rsync' (3.1.0 or later) on this host"
OLDEST = (3, 1, 0)  # says how far it is, knows --chown and --outbuf
LATEST_QUESTION_S = 10.0  # `rsync --version` on a host that is busy
SEED = 7  # of the checksums in a recording: the same for the same two trees; 0 would be another each time
STALL_S = 120  # without a byte of the other end: rsync itself says that it is alive more often than that
_BESIDE = (b"--link-dest", b"--copy-dest", b"--compare-dest")  # where a receiver looks for files beside
HEAD = 4  # bytes with which a recording begins: flags, the lowest byte first, alike from 3.0 to 3.5
# -r; -o -g -l -D -d; -H -c -A -X. Others are --compress, --iconv, --inplace, --append, --append-verify.
_RECURSE, _FLAGS, _FLAGS_OF = 0x1, 0x9E, (0x20, 0x40, 0x400, 0x800)
_TEMPORARY = b".nile-sync-"
_LETTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-"


class Rsync:
    """A program: `path`, `version` (three numbers), `protocol`, what it `has` ("xattrs", "ACLs", ...)."""

    def __init__(self, path: str, version: "Version", protocol: int, has: "FrozenSet[str]") -> None:
        self.path = path
        self.version = version
        self.protocol = protocol
        self.has = has


class Refusal(Exception):
    """It can't be done: a `code`, a `reason`, a `remedy` for the administrator."""

    def __init__(self, code: str, reason: str, remedy: str = "") -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.remedy = remedy


def probe(path: str = "") -> "Union[Rsync, Refusal]":
    """The rsync at this path, or the first one of PATH; it is run once. Waits at most LATEST_QUESTION_S."""
    found = path or which("rsync")
    if not found:
        return Refusal("no-rsync", "there is no rsync in %s" % os.environ.get("PATH", "PATH"), REMEDY)
    try:
        said = _answer([found, "--version"])
    except OSError as error:
        return Refusal("no-rsync", "%s can't be run: %s" % (found, error.strerror), REMEDY)
    return understand(found, said)


def _answer(argv: "List[str]") -> bytes:
    """What that program prints: it is waited for, before there is anything else to wait for. Raises OSError.

    (By subprocess it would take 10 ms more of every host's CPU, most of it to import that.)
    """
    null = os.open(os.devnull, os.O_RDWR)
    reader, writer = os.pipe()
    try:
        try:
            pid = processes.spawn(argv, environment(), [null, writer, null])
        finally:
            os.close(null)
            os.close(writer)
        try:
            return _all_of(reader)
        finally:  # it has said everything, or isn't waited for any more
            os.killpg(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    finally:
        os.close(reader)


def _all_of(reader: int) -> bytes:
    """Everything up to its end, if that comes in time; raises OSError."""
    said, deadline = b"", time.monotonic() + LATEST_QUESTION_S
    poll = select.poll()
    poll.register(reader, select.POLLIN)
    while poll.poll(max(0, int((deadline - time.monotonic()) * 1000))):
        data = os.read(reader, 65536)
        if not data:
            return said
        said += data
    raise OSError(errno.ETIMEDOUT, "it doesn't answer")


def understand(path: str, said: bytes) -> "Union[Rsync, Refusal]":
    """What the rsync at `path` is, from what `rsync --version` prints."""
    head = _head(said)
    if head is None:
        return Refusal("no-rsync", "%s isn't an rsync that says its version" % path, REMEDY)
    version, protocol = head
    if version < OLDEST:
        return Refusal("old-rsync", "%s is of version %d.%d.%d" % ((path,) + version), REMEDY)
    words = said.decode("ascii", "replace").partition("Capabilities:")[2].partition("\n\n")[0]
    # The lists of later versions ("Optimizations:") begin at the left margin.
    lines = []
    for line in words.splitlines()[1:]:
        if not line.startswith(" "):
            break
        lines.append(line)
    has = [word.strip() for word in " ".join(lines).split(",")]
    kept = frozenset(word for word in has if word and not word.startswith("no "))
    return Rsync(path, version, protocol, kept | known_since(version))


def _head(said: bytes) -> "Optional[Tuple[Version, int]]":
    """Version and protocol of `rsync  version 3.2.7  protocol version 31`; None where it doesn't say so."""
    words = said.partition(b"\n")[0].split()
    if words[:2] != [b"rsync", b"version"] or words[3:5] != [b"protocol", b"version"]:
        return None
    numbers = [_leading(each) for each in words[2].lstrip(b"v").split(b".")[:3]]
    protocol = _leading(b"".join(words[5:6]))
    if protocol is None or len(numbers) < 2 or None in numbers[:2]:
        return None
    first, second, third = (numbers + [0])[:3]
    assert first is not None
    assert second is not None
    return (first, second, third or 0), protocol


def _leading(word: bytes) -> "Optional[int]":
    """The number with which it begins."""
    digits = word[: len(word) - len(word.lstrip(b"0123456789"))]
    return int(digits) if digits else None


def known_since(version: "Version") -> "FrozenSet[str]":
    """Options that its version tells of."""
    since = {"modify-window-ns": (3, 1, 3), "mkpath": (3, 2, 3), "old-args": (3, 2, 4)}
    return frozenset(option for option, first in since.items() if version >= first)


def which(name: str) -> str:
    """Where a program of this name is, "" if nowhere: shutil's takes what compresses with it."""
    for directory in os.environ.get("PATH", os.defpath).split(os.pathsep):
        path = os.path.join(directory or ".", name)
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return ""


def environment() -> "Dict[str, str]":
    """Ours, without what would make rsync another one; its messages are to be read by us."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("RSYNC_")}
    env.update(LC_ALL="C", HOME="/nonexistent", RSYNC_PROTECT_ARGS="0")  # aliases are in ~/.popt
    return env


class Copy:
    """How files are copied. All but `temporary` have rsync's own meaning.

    `temporary` is `.nile-sync-RUN`, the name of the directories in the
    destination that hold what is unfinished; `chown` is "user:group";
    `bwlimit` is KiB a second; `link_dest` is an absolute path at the receiver,
    b"": none; `listed`: what is to be copied is named, and nothing else looked at.
    ValueError if `temporary` is another name.
    """

    def __init__(
        self,
        temporary: bytes,
        delete: bool = False,
        excludes: "Sequence[bytes]" = (),
        checksum: bool = False,
        whole: bool = False,
        numeric_ids: bool = False,
        chown: "Optional[str]" = None,
        bwlimit: "Optional[int]" = None,
        hard_links: bool = False,
        acls: bool = False,
        xattrs: bool = False,
        sparse: bool = False,
        stall_s: int = STALL_S,
        max_delete: "Optional[int]" = None,
        link_dest: bytes = b"",
        listed: bool = False,
    ) -> None:
        run = temporary[len(_TEMPORARY) :]
        if not temporary.startswith(_TEMPORARY) or not run or run.strip(_LETTERS):
            raise ValueError("no name for a temporary directory: %r" % temporary)
        self.temporary = temporary
        self.delete = delete
        self.excludes = list(excludes)
        self.checksum = checksum
        self.whole = whole
        self.numeric_ids = numeric_ids
        self.chown = chown
        self.bwlimit = bwlimit
        self.hard_links = hard_links
        self.acls = acls
        self.xattrs = xattrs
        self.sparse = sparse
        self.stall_s = stall_s
        self.max_delete = max_delete
        self.link_dest = link_dest
        self.listed = listed

    def flags(self) -> str:
        """The short letters, after -a."""
        letters = {"H": self.hard_links, "A": self.acls, "X": self.xattrs, "S": self.sparse}
        letters.update(c=self.checksum, W=self.whole)
        return "".join(letter for letter, wanted in letters.items() if wanted)


def inner_directory(dest: bytes, temporary: bytes) -> bytes:
    """Where rsync writes its temporary files: DEST/NAME/NAME."""
    return os.path.join(dest, temporary, temporary)


def client_argv(
    rsync: Rsync,
    copy: Copy,
    sources: "Sequence[bytes]",
    dest: bytes,
    helper: "Sequence[str]",
    peer: "Version",
    phases: bool,
) -> "List[str]":
    """The words of the sender's rsync, its path first.

    `helper` is what it is to run as its remote shell, `peer` the version at the
    other end; with `phases` it prints how far it is (see pushing). Sources and
    `dest` are absolute paths: ValueError else.
    """
    for path in list(sources) + [dest] + [copy.link_dest] * bool(copy.link_dest):
        if not path.startswith(b"/"):
            raise ValueError("not an absolute path: %r" % path)
    argv = [rsync.path, "-ax" + copy.flags()]  # a scan doesn't enter other file systems either
    argv += [] if copy.whole else ["--no-whole-file"]
    argv += _owners(copy)
    argv += ["--bwlimit=%d" % copy.bwlimit] if copy.bwlimit is not None else []
    argv += ["--delete-delay"] if copy.delete else []
    argv += ["--max-delete=%d" % copy.max_delete] if copy.delete and copy.max_delete is not None else []
    argv += _beside(copy)
    if "modify-window-ns" in rsync.has & known_since(peer):
        argv.append("--modify-window=-1")
    argv += ["--debug=SEND1", "--outbuf=L"] if phases else []
    argv += ["--timeout=%d" % copy.stall_s, "--delay-updates"]
    name = os.fsdecode(copy.temporary)
    argv += ["--partial-dir=" + name, "--temp-dir=" + os.fsdecode(inner_directory(dest, copy.temporary))]
    argv += _filters(copy.excludes, "--filter=-p %s*/" % name)
    # No shell stands between the two: nothing is to be escaped (given once, wildcards still would be).
    argv += ["--old-args", "--old-args"] if "old-args" in rsync.has else []
    argv += ["-e", " ".join(quoted(word) for word in helper), "--"]
    return argv + [os.fsdecode(source) for source in sources] + ["nile:" + os.fsdecode(dest)]


def recording_argv(argv: "Sequence[str]", batch: str, names: str = "") -> "List[str]":
    """These words of the sender's rsync, but to write what it would send to the file `batch`.

    The other end only says what it has: nothing is changed there. Its temporary directory has to be
    there all the same, since rsync looks for it when it starts. Only what is named in the file
    `names`, with a zero byte behind each, is sent, if there is one.
    """
    only = ["--files-from=" + names, "--from0"] if names else []
    return [argv[0], "--only-write-batch=" + batch, "--checksum-seed=%d" % SEED] + only + list(argv[1:])


def applying_argv(rsync: Rsync, copy: Copy, dest: bytes, recorded: "Version") -> "List[str]":
    """The words of an rsync that reads a recording from its stdin, and does to `dest` what it says.

    `recorded` is the older one of the two versions that made it: both ends use what both know, so
    that a reader of that version, or a later one, knows it too. (Another --protocol isn't enough for
    an older one: the file list is written as the two agreed.) Raises Refusal where this rsync is
    older, or has no ACLs or extended attributes where they were recorded. There is no --timeout:
    rsync would count what it does itself, renaming and deleting, as a silence. And without names on
    its stdout it wouldn't say on its stderr where a checksum is wrong, and end as if all were well.
    """
    lacking = ["ACLs"] if copy.acls and "ACLs" not in rsync.has else []
    lacking += ["xattrs"] if copy.xattrs and "xattrs" not in rsync.has else []
    if rsync.version < recorded:
        reason = "%s is of version %d.%d.%d" % ((rsync.path,) + rsync.version)
        raise Refusal("old-rsync", "%s, which can't read what %d.%d.%d writes" % ((reason,) + recorded))
    if lacking:
        raise Refusal("old-rsync", "%s has no %s" % (rsync.path, " and no ".join(lacking)))
    name = os.fsdecode(copy.temporary)
    # Where files were named, -a meant all of its letters but -r, and -R and -d beside them.
    how = "-dRlptgoDx" if copy.listed else "-ax"
    argv = [rsync.path, "--read-batch=-", how + copy.flags(), "--info=NAME1"] + _owners(copy)
    argv += ["--delete-delay"] if copy.delete else []
    argv += ["--max-delete=%d" % copy.max_delete] if copy.delete and copy.max_delete is not None else []
    argv += _beside(copy)
    argv += ["--modify-window=-1"] if "modify-window-ns" in known_since(recorded) else []
    argv += ["--checksum-seed=%d" % SEED, "--delay-updates", "--partial-dir=" + name]
    argv += ["--temp-dir=" + os.fsdecode(inner_directory(dest, copy.temporary))]
    return argv + _filters(copy.excludes, "--filter=-p %s*/" % name) + ["--", os.fsdecode(dest)]


def wrong_head(head: bytes, copy: Copy) -> str:
    """Why a recording with this head isn't one of such a copy; "": it is.

    rsync takes options from there that its words don't have, and a neighbour in a chain can make it up:
    with --inplace, say, files would be written to that have other names, and before anything is checked.
    Options that it lacks do no harm: what they would have brought is missed in the end.
    """
    flags = int.from_bytes(head, "little")
    if len(head) != HEAD or not flags:
        return "it begins as no recording does"
    allowed = _FLAGS | (0 if copy.listed else _RECURSE)
    wanted = (copy.hard_links, copy.checksum, copy.acls, copy.xattrs)
    allowed |= sum(flag for flag, is_wanted in zip(_FLAGS_OF, wanted) if is_wanted)  # noqa: B905
    return (
        "it has rsync do what isn't to be done (flags %#x)" % (flags & ~allowed) if flags & ~allowed else ""
    )


def _owners(copy: Copy) -> "List[str]":
    numbers = ["--numeric-ids"] if copy.numeric_ids else []
    return numbers + (["--chown=" + copy.chown] if copy.chown is not None else [])


def _beside(copy: Copy) -> "List[str]":
    return ["--link-dest=" + os.fsdecode(copy.link_dest)] if copy.link_dest else []


def _filters(excludes: "Sequence[bytes]", own: str) -> "List[str]":
    """Ours first, since the first match counts, and again after a "!", which clears those before it.

    That of a swarm is named like rsync's, and something more.
    It is "perishable", so that a directory that is to go may go with what is in it.
    """
    words = [own]
    for pattern in excludes:
        words += ["--exclude=" + os.fsdecode(pattern)] + ([own] if pattern.strip() == b"!" else [])
    return words


def quoted(word: str) -> str:
    """As rsync takes the value of -e apart: no shell, and a quote within quotes is written twice."""
    return "'" + word.replace("'", "''") + "'"


def server_argv(
    rsync: Rsync, asked: "Sequence[bytes]", dest: bytes, temporary: bytes, basis: bytes = b""
) -> "List[str]":
    """What to run for a sender that asks for these words: them, with the path of our rsync.

    Raises Refusal unless that receives into `dest`, by way of its temporary directory, and
    links files to none but those in `basis`, if there is one.
    """
    words = list(asked)
    options = words[2:-2]
    inner = [b"--temp-dir", inner_directory(dest, temporary)]
    pairs = [options[at : at + 2] for at in range(len(options))]
    if words[:2] != [b"rsync", b"--server"] or words[-2:] != [b".", dest]:
        raise Refusal("refused", "the sender didn't ask for an rsync that receives into this directory")
    if [pair for pair in pairs if pair[0] == b"--temp-dir"] != [inner]:
        raise Refusal("refused", "the sender asked for another temporary directory")
    others = [pair for pair in pairs if pair[0].startswith(_BESIDE)]
    if others and (not basis or others != [[b"--link-dest", basis]]):
        raise Refusal("refused", "the sender asked for another directory to link files to")
    if any(option in (b"--sender", b"--daemon") or _secluded(option) for option in options):
        raise Refusal("refused", "the sender asked for an rsync that isn't a receiver")
    return [rsync.path] + [os.fsdecode(word) for word in words[1:]]


def _secluded(option: bytes) -> bool:
    """Would the true words come later, unseen? (-s, perhaps among other letters; those after e are none.)"""
    if option == b"--secluded-args" or option == b"--protect-args":
        return True
    return option[:1] == b"-" and option[:2] != b"--" and b"s" in option.partition(b"e")[0]
