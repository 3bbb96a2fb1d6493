"""How rsync is called at both ends where files come back from hosts: the root takes, and a host sends.

Neither end trusts the other. The host sends exactly the paths that the root
named when it asked for an offer, whatever words come over the connection. And
what a host sends has to stay in the directory of that host, also where the
root's rsync is an old one:

- links are kept as text that leads nowhere (`--munge-links`), so that nothing
  is ever written, or later read, through a link that a host made up;
- the list of files is complete, sorted and without doubles before anything is
  written (`--no-inc-recursive`: with parts of it coming later, rsyncs before
  3.4.0 could be talked into writing elsewhere);
- rsync's own checks of names stay on (`--old-args` would take some away);
- no devices, no special files, no set-user-ID and set-group-ID bits, and
  neither extended attributes nor ACLs: of them some give rights, too;
- unfinished files lie beside the host's directory, where no name of its leads.

Files appear under their names one by one, each of them whole.
"""

import os
import re

from nile.agent.worker.rsync import STALL_S, Refusal, known_since, quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List, Optional, Sequence

    from nile.agent.worker.rsync import Rsync, Version

_OPTION = re.compile(rb"-[logtprxS]+(?:e[0-9]*\.[A-Za-z]*)?|--numeric-ids|--(?:timeout|bwlimit)=[0-9]+")
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)


def fetch_argv(
    rsync: "Rsync",
    paths: "Sequence[bytes]",
    dest: bytes,
    temporary: bytes,
    helper: "Sequence[str]",
    peer: "Version",
    excludes: "Sequence[bytes]" = (),
    numeric_ids: bool = False,
    bwlimit: "Optional[int]" = None,
) -> "List[str]":
    """The words of the rsync that takes `paths` into the directory `dest`, its own path first.

    `temporary` is a directory of the same file system for what is unfinished; `peer` is the version at
    the other end, `bwlimit` is KiB a second. All paths are absolute: ValueError else.
    """
    for path in [*paths, dest, temporary]:
        if not path.startswith(b"/"):
            raise ValueError("not an absolute path: %r" % path)
    argv = [rsync.path, "-axS", "--no-devices", "--no-specials", "--no-inc-recursive", "--munge-links"]
    argv += ["--chmod=ug-s", "--timeout=%d" % STALL_S, "--temp-dir=" + os.fsdecode(temporary)]
    argv += ["--numeric-ids"] if numeric_ids else []
    argv += ["--bwlimit=%d" % bwlimit] if bwlimit else []
    argv += ["--modify-window=-1"] if "modify-window-ns" in rsync.has & known_since(peer) else []
    argv += ["--exclude=" + os.fsdecode(pattern) for pattern in excludes]
    argv += ["-e", " ".join(map(quoted, helper)), "--"]
    argv += ["nile:" + os.fsdecode(path) for path in paths]
    return [*argv, os.fsdecode(os.path.join(dest, b""))]


def sender_argv(rsync: "Rsync", asked: "Sequence[bytes]", paths: "Sequence[bytes]") -> "List[str]":
    """What to run for who asks for these words: an rsync that sends `paths`, and does nothing else.

    Raises Refusal where the words want something else.
    """
    at = len(asked) - len(paths) - 1
    if list(asked[:3]) != [b"rsync", b"--server", b"--sender"] or at < 3 or asked[at] != b".":
        raise Refusal("refused", "the root's rsync didn't ask for an rsync that sends these files")
    for number, path in enumerate(paths):
        word = asked[at + 1 + number]
        if path not in (word, _ESCAPED.sub(rb"\1", word)):  # later versions escape, as for a shell
            raise Refusal("refused", "the root's rsync asked for other files than the root")
    for option in asked[3:at]:
        if not _OPTION.fullmatch(option):
            shown = option.decode("utf-8", "backslashreplace")[:100]
            raise Refusal("refused", "the root's rsync asked for %s" % shown)
    return [rsync.path, *map(os.fsdecode, [*asked[1 : at + 1], *paths])]
