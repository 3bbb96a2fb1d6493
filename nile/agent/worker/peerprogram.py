"""The peer of a swarm: libtorrent, in a process of its own below a worker.

It isn't a part of the worker: the worker has `peering` start it, with a Python
that has libtorrent, and speaks with it in its own framing. What it is told:

    wheel     where there is no libtorrent: a part of one, in `chunk`
    load      that was all: take it if this is its `digest`, from one of `directories` where there must be one
    metainfo  a part of the torrent, in `chunk`
    places    where its files are that has them, in order, a part at a time; b"": it is padding
    wanted    a byte for each file, 0 for those that aren't, in `wanted`, a part at a time
    start     take part: in `directory`, where file N is called N; `seed`: all is there; `slots`: how many
              are served at one time; `asked`: for how many blocks of 16 KiB each of these may ask ahead, if
              that is bounded; `limit`: bytes a second that go out at most, 0: as many as can; `tls`:
              a certificate, its key and parameters, where whoever has none is kept out; `word`: what its
              id begins with; `ports`: the first and the last where it may listen; `refuse`: addresses with
              which it has nothing to do (see refusing); `keep`: all but the last one is at these places
    elsewhere look for peers at these `trackers`, and for files at `webs`, too: what these lack comes first
    share     get every piece first whose number, divided by `parts`, leaves `part`
    peers     connect to these addresses
    limit     the same as at the start; of a gateway `uplink`, too: bytes a second that come at most from who
              isn't at an address that is `near` (see uplink); by its number `n` it says that this holds
    stop      end

and what it says:

    lacks     there is no libtorrent: what this Python is (see lacking)
    ready     what the peer is, and its version
    port      where it listens, on TCP only; if it is to `keep` files, once all of them are known to be right
    report    how far it is, every half second, and from whom it got that; once it has all, every few seconds
    banned    from this address damaged pieces came: it has nothing more to do with whoever is there
    complete  all that is wanted is there, verified piece by piece, and written
    limited   a limit holds
    error     it can't go on, and why: `code`, `reason`

Without standard input it ends at once.
"""

import errno
import os
import select
import time

from nile.agent.worker import messages, peersettings
from nile.agent.worker.guarding import Guard
from nile.agent.worker.origins import Origins
from nile.agent.worker.ports import NO_PORT, free_port
from nile.agent.worker.priorities import NO_SHARE, priorities
from nile.agent.worker.uplink import Uplink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List

    Message = Dict[str, Any]

OLDEST = 2  # of libtorrent's versions
REPORT_S = 0.5
CALM_REPORT_S = 5.0  # of one that has all, and only serves
_CODES = {errno.ENOSPC: "disk-full", errno.EDQUOT: "disk-full"}
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ESTALE)
LEAVE_S = 0.7  # for trackers to hear that it ends: after a second it is killed
STUCK = 8  # reports, of one that has all there is, and doesn't find that so
_LEADING = ("addpackage", "execsitecustomize", "execusercustomize")
TRIES = 5  # ports that are found free, and then aren't


class Peer:
    """One session with one torrent. `lt` is the module libtorrent."""

    def __init__(self, lt: "Any") -> None:
        self._lt = lt
        self._metainfo = b""
        self._places: "List[bytes]" = []
        self._wanted = b""
        self._handle: "Any" = None
        self._session: "Any" = None
        self._uplink: "Any" = None
        self._guard: "Any" = None
        self._port = self._tried = self._stuck = self._pieces = 0
        self._tls: "List[str]" = []
        self._ports: "List[int]" = []
        self._failed = self._by_web = False
        self._webs: "List[str]" = []  # web servers that aren't asked yet
        self._share = NO_SHARE
        self._flushing = self._complete = self._seeds = self._keeps = False
        self._earlier: "Dict[str, int]" = {}  # what was counted before it was looked at anew
        self._origins = Origins("", lt.peer_info)
        self._woken, self._wake = os.pipe()
        for fd in (self._woken, self._wake):
            os.set_blocking(fd, False)

    # What it is told.

    def run(self) -> None:
        """Until it is told to stop, or nobody tells anything any more."""
        said = bytearray()
        say({"ready": "libtorrent %s" % self._lt.__version__})
        poll = select.poll()
        for fd in (0, self._woken):
            poll.register(fd, select.POLLIN)
        due = time.monotonic()
        while True:
            ready = dict(poll.poll(max(0, int((due - time.monotonic()) * 1000) + 1)))
            if 0 in ready:
                data = os.read(0, 1 << 16)
                if not data:
                    return
                for message in messages.unpack(said, data):
                    if message["do"] == "stop":
                        self._report()
                        self._take_leave()
                        return
                    getattr(self, "_do_" + message["do"])(message)
            if self._woken in ready:
                os.read(self._woken, 4096)
            self._hear()
            if time.monotonic() >= due:
                due = time.monotonic() + (CALM_REPORT_S if self._complete else REPORT_S)
                self._report()

    def _take_leave(self) -> None:
        """Trackers are to tell nobody of it any more: those that know it."""
        if self._handle is None or not self._handle.trackers():
            return
        end, untold, paused = time.monotonic() + LEAVE_S, 0, False
        self._handle.pause()
        while time.monotonic() < end and (untold > 0 or not paused):
            self._session.wait_for_alert(50)
            kinds = [alert.what() for alert in self._session.pop_alerts()]
            untold += kinds.count("tracker_announce")
            untold -= kinds.count("tracker_reply") + kinds.count("tracker_error")
            paused = paused or "torrent_paused" in kinds

    def _do_metainfo(self, message: "Message") -> None:
        self._metainfo += message["chunk"]

    def _do_places(self, message: "Message") -> None:
        self._places += message["places"]

    def _do_wanted(self, message: "Message") -> None:
        self._wanted += message["wanted"]

    def _do_start(self, message: "Message") -> None:
        lt, self._seeds, self._keeps = self._lt, message["seed"], message.get("keep", False)
        os.chdir(message["directory"])
        parameters = lt.session_params()
        settings = peersettings.settings(lt, message["slots"], message.get("asked", 0))
        self._tls, self._ports = message.get("tls", []), message.get("ports", [])
        settings["listen_interfaces"] = self._everywhere()
        if not settings["listen_interfaces"]:
            say({"code": "copy", "reason": NO_PORT % tuple(self._ports)})
            return
        if message.get("word"):
            settings["peer_fingerprint"] = message["word"]
            self._origins = Origins(message["word"], lt.peer_info)
        known = lt.default_settings()
        parameters.settings = {name: value for name, value in settings.items() if name in known}
        if hasattr(parameters, "disk_io_constructor"):
            parameters.disk_io_constructor = "pread_disk_io_constructor"
        self._session = lt.session(parameters)
        self._uplink = Uplink(lt, self._session)
        self._guard = Guard(lt, self._session, message.get("refuse", []))
        self._session.set_alert_fd(self._wake)
        torrent = self._torrent(self._wanted)
        self._handle = self._session.add_torrent(torrent)
        self._guard.guards(self._handle, torrent.ti)
        if self._tls:
            self._show()
        self._do_limit(message)

    def _show(self) -> None:
        """What is shown is to be there before anybody is met."""
        if hasattr(self._handle, "set_ssl_certificate_buffer"):
            self._handle.set_ssl_certificate_buffer(*self._tls)
        else:  # before 2.1 it reads files, at a time of its own
            from nile.agent.worker.memory import in_memory

            self._handle.set_ssl_certificate(*map(in_memory, self._tls))
        self._handle.resume()

    def _torrent(self, wanted: bytes) -> "Any":
        lt, flags = self._lt, self._lt.torrent_flags
        if hasattr(lt, "load_torrent_buffer"):
            torrent = lt.load_torrent_buffer(self._metainfo, peersettings.LIMITS)
        else:
            torrent = lt.add_torrent_params()
            torrent.ti = lt.torrent_info(self._metainfo, peersettings.LIMITS)
        self._metainfo = b""
        torrent.save_path = "."
        names = self._places or [b"%d" % number for number in range(len(wanted))]
        torrent.renamed_files = {number: name for number, name in enumerate(names) if name}
        torrent.file_priorities = [4 if each else 0 for each in wanted]
        torrent.flags = flags.disable_dht | flags.disable_lsd | flags.disable_pex | flags.apply_ip_filter
        if self._seeds:
            torrent.flags |= flags.seed_mode | flags.upload_mode  # never is anything written
        if self._keeps:
            torrent.flags |= flags.upload_mode  # until nothing but the archive can be
        if self._tls:
            torrent.flags |= flags.paused
        return torrent

    def _do_elsewhere(self, message: "Message") -> None:
        for tier, url in enumerate(message["trackers"]):
            self._handle.add_tracker({"url": url, "tier": tier})
        if message["webs"]:
            self._webs += message["webs"]
            self._by_web = self._guard.webs = True
            self._prioritize()
            self._ask_webs()

    def _do_share(self, message: "Message") -> None:
        self._share = message["part"], message["parts"]
        self._prioritize()

    def _prioritize(self) -> None:
        """Web servers lack the archive alone, the last file."""
        wanted = self._handle.get_piece_priorities()
        archive = self._archive_begins() if self._by_web else len(wanted)
        self._handle.prioritize_pieces(priorities(wanted, self._share, archive))

    def _archive_begins(self) -> int:
        """Its first piece."""
        about = self._handle.torrent_file()
        return int(about.map_file(about.num_files() - 1, 0, 0).piece)

    def _ask_webs(self) -> None:
        """Not before the archive is here, which they lack.

        Of whatever a web server is asked for, which may be all there is, libtorrent asks nobody else; and
        it parts for half a minute from one that hasn't it.
        """
        archive = self._handle.status().pieces[self._archive_begins() :] if self._webs else []
        if archive and all(archive):
            for url in self._webs:
                self._handle.add_url_seed(url)
            del self._webs[:]

    def _do_peers(self, message: "Message") -> None:
        for address, port in message["peers"]:
            self._guard.connect((address, port))

    def _do_limit(self, message: "Message") -> None:
        # Of the torrent: limits of the session aren't for those that are near.
        self._handle.set_upload_limit(message["limit"])
        if "uplink" in message:
            self._uplink.bound(message["uplink"], message["near"])
        if "n" in message:
            say({"limited": message["n"]})

    # What libtorrent tells.

    def _hear(self) -> None:
        if self._session is None:
            return
        for alert in self._session.pop_alerts():
            what = alert.what()
            guilty = self._guard.hear(what, alert)
            if guilty:
                say({"banned": guilty})
            if what == "listen_succeeded":
                self._listens(alert)
            elif what == "listen_failed":
                self._cannot_listen(alert)
            elif what == "torrent_checked" and self._keeps:
                self._checked()
            elif what == "torrent_finished" and not self._seeds:
                self._flushing = True
                self._look()
                self._handle.flush_cache()
            elif what == "cache_flushed" and self._flushing and not (self._complete or self._failed):
                self._complete = True
                self._report()
                say({"complete": True})
            elif what in ("file_error", "torrent_error"):
                self._failed = True  # all pieces may be known to be right, and yet not be on the disk
                say({"code": code_of(what, alert.error, self._seeds), "reason": alert.message()[:500]})

    def _listens(self, alert: "Any") -> None:
        if not self._port and "tcp" in str(alert.socket_type):
            self._port = alert.port
            if not self._keeps:
                say({"port": alert.port})

    def _checked(self) -> None:
        """Is all there but what comes last, which is the archive?"""
        if all(self._handle.status().pieces[: self._archive_begins()]):
            self._handle.unset_flags(self._lt.torrent_flags.upload_mode)
            say({"port": self._port})
        else:
            say({"code": "differs", "reason": "its copy isn't as the source: it only has its size and time"})

    def _cannot_listen(self, alert: "Any") -> None:
        """Somebody else was quicker (or here is no IPv6)."""
        if self._port or ":" in alert.address:
            return
        self._tried += 1
        if self._tried > TRIES:
            say({"code": "copy", "reason": "it can't listen: %s" % alert.message()[:500]})
        else:
            self._session.apply_settings({"listen_interfaces": self._everywhere()})

    def _everywhere(self) -> str:
        """All our addresses, at one port that is free: libtorrent would take another one at each."""
        port = free_port(self._ports, self._tried)
        each = "%d%s" % (port, "s" if self._tls else "")
        return "0.0.0.0:%s,[::]:%s" % (each, each) if port else ""

    def _report(self) -> None:
        if self._handle is None:
            return
        now = self._handle.status()
        if not (self._complete or self._seeds):
            self._look()
        report = {
            "at": now.total_wanted_done,
            "whole": now.total_wanted,
            "down": now.download_payload_rate,
            "up": now.upload_payload_rate,
            "peers": now.num_peers,
            "state": str(now.state),
            "from": self._origins.bytes,
            "useful": self._origins.useful,
            "serving": self._origins.serving,
        }
        say({"report": dict(report, **self._counts(now))})
        self._unstick(now)
        self._ask_webs()
        if self._seeds and not now.is_seeding and str(now.state) != "checking_resume_data":
            # A file, or a piece that was asked for, isn't as the torrent has it.
            say({"code": "source-changed", "reason": "the source isn't as it was when it was read"})

    def _unstick(self, now: "Any") -> None:
        """libtorrent 2.1.1 may take a damaged piece for one that it looks at, for ever.

        Nothing gets it out of that but to look at all that is there; then it counts from 0. As long as it
        finds one piece after the other right it isn't stuck: its disk is slow.
        """
        over = self._complete or self._failed or self._keeps or str(now.state) != "downloading"
        all_came = self._guard.alarmed and now.total_wanted_done == now.total_wanted
        is_still, self._pieces = now.num_pieces == self._pieces, now.num_pieces
        self._stuck = self._stuck + 1 if all_came and is_still and not over else 0
        if self._stuck == STUCK:
            self._stuck = 0
            self._earlier = self._counts(now)
            self._handle.force_recheck()

    def _counts(self, now: "Any") -> "Dict[str, int]":
        """Bytes in all: that came, that went out, and that were damaged."""
        now = {
            "got": now.total_payload_download,
            "sent": now.total_payload_upload,
            "failed": now.total_failed_bytes,
        }
        return {name: count + self._earlier.get(name, 0) for name, count in now.items()}

    def _look(self) -> None:
        self._origins.look(self._handle.get_peer_info())


def code_of(what: str, error: "Any", seeds: bool) -> str:
    """Why files can't be read (by a seed) or written, or a torrent goes on no more."""
    system = error.category().name() in ("system", "generic")
    if not seeds:
        return _CODES.get(error.value(), "copy") if system else "copy"
    if system:
        return "source-changed" if error.value() in _GONE else "source"
    return "source-changed" if what == "file_error" else "copy"  # it is shorter


def say(message: "Message") -> None:
    """To the worker."""
    data = messages.pack(message)
    while data:
        data = data[os.write(1, data) :]


def main() -> None:
    """Be a peer; what goes wrong here is said on standard error."""
    found = _installed()
    if found is None:
        found = _carried()
    peer = Peer(found)  # by its name it is kept: with it goes the session, which closes all in order
    peer.run()
    os._exit(0)


def _installed() -> "Any":
    """That of this Python; None where it has none of use.

    Looked for where packages are, and only then where files there lead to: to carry these out, as a Python
    does that begins, may take it longer than all of the rest.
    """
    import site

    leading = {name: getattr(site, name) for name in _LEADING if hasattr(site, name)}
    for led in (False, True):
        for name, function in leading.items():
            setattr(site, name, function if led else _nothing)
        site.main()
        try:
            import libtorrent
        except ImportError:
            continue
        return libtorrent if int(libtorrent.__version__.split(".")[0]) >= OLDEST else None
    return None


def _nothing(*_: object) -> None:
    """In place of what `site` would do."""


def _carried() -> "Any":
    """The one that comes; nothing else is said before it is loaded."""
    from nile.agent.worker import lacking  # what it imports takes most Pythons as long as all of the rest

    say({"lacks": lacking.facts()})
    said, wheel = bytearray(), bytearray()
    while True:
        data = os.read(0, 1 << 16)
        for message in messages.unpack(said, data):
            if message["do"] == "wheel":
                wheel += message["chunk"]
            elif message["do"] == "load":
                return lacking.load(bytes(wheel), message["digest"], message["directories"])
            else:
                os._exit(0)
        if not data:
            os._exit(0)
