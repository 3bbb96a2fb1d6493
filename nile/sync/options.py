"""What is to be copied or gathered, and how, as frozen values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from nile.agent.worker import naming
from nile.sync.wheels import Wheel


class Purpose(StrEnum):
    """What a run is for: to copy, to say what it would copy, to say what differs, or to mend that too."""

    COPY = "copy"
    DRY_RUN = "dry-run"
    VERIFY = "verify"
    REPAIR = "repair"


class Method(StrEnum):
    """How files travel.

    As a stream, recorded once and passed on from host to host; by rsync from host to host, over the links
    of the tree or over connections of its own, in the clear; in a swarm, where each host gets pieces from
    many others; or as Nile chooses.
    """

    AUTO = "auto"
    STREAM = "stream"
    RSYNC = "rsync"
    RSYNC_TCP = "rsync-tcp"
    SWARM = "swarm"


class Ask(StrEnum):
    """What to do where more would be deleted than anyone deletes by the way."""

    USER = "user"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Quorum:
    """Which part of the hosts has to be ready before anything is flipped, in hundredths of a percent."""

    share: int = 10000

    def needed(self, asked: int) -> int:
        """How many of so many."""
        return -(-asked * self.share // 10000)


@dataclass(frozen=True, slots=True)
class SyncOptions:
    """What to copy, and how. Paths are bytes: file names need not be text."""

    sources: tuple[bytes, ...] = ()
    """Absolute paths at the root; with a trailing slash, what is in the directory and not itself."""
    dest: bytes = b"/"
    """An absolute path on the hosts: the directory that gets them."""
    purpose: Purpose = Purpose.COPY
    method: Method = Method.AUTO
    delete: bool = False
    """Take away what the source doesn't have."""
    max_delete: int | None = None
    """A host on which more would be deleted is refused; None: see `ask`."""
    ask: Ask = Ask.REFUSE
    excludes: tuple[bytes, ...] = ()
    """Patterns of rsync(1)."""
    checksum: bool = False
    """Compare contents, not only size and time."""
    numeric_ids: bool = False
    chown: str = ""
    whole: bool = True
    """Send files that differ whole, which on a fast network takes less time than finding what differs."""
    wait_s: float = 0.0
    """For how long to wait for another run that writes there."""
    chains: int = 1
    """In which the hosts of one stream are: more than one where the root moves more than a host."""
    plain: bool = False
    """Streams and swarms aren't encrypted: anybody on the way can read them."""
    bwlimit_kib_s: int | None = None
    """For each copy between two hosts."""
    serve_s: float = 0.0
    """How long a swarm goes on once all have all; it may be for ever."""
    peer_python: str = ""
    """An interpreter on the hosts that has libtorrent; it is tried before others."""
    peer_ports: tuple[int, int] | None = None
    """Where peers of a swarm listen: the first one, and the last; None: where the system has one free."""
    seed_limit_kib_s: int | None = None
    """For the seed of a swarm alone; None: as the others."""
    rack_limit_kib_s: int | None = None
    """For what comes to each rack of a swarm over its uplink."""
    tracker_at: tuple[str, int] | None = None
    """Have a tracker at the root: the address at which it is found, and the port, 0 for any."""
    seeders: frozenset[str] = frozenset()
    """Hosts to which the seed of a swarm goes before others; they serve what they have already, too."""
    trackers: tuple[str, ...] = ()
    """Where else a swarm is announced."""
    web_seeds: tuple[str, ...] = ()
    """Where else its files are: directories with one called `torrent_name`, which is as the source."""
    torrent_name: str = "nile"
    can_seed: bool = False
    """There is a libtorrent here."""
    wheels: tuple[Wheel, ...] = ()
    """Of libtorrent, for hosts that have none."""
    release: str = ""
    """Deliver it below `dest`, beside other releases, and make it the current one; "": no release."""
    quorum: Quorum = Quorum()
    keep: int | None = None
    """How many releases stay, beside those that are needed; None: all."""

    rate: float | None = None
    """Bytes a second that every port moves, as the user says: the end is measured by it."""

    @property
    def copies(self) -> bool:
        """Is it a run that writes anything?"""
        return self.purpose in (Purpose.COPY, Purpose.REPAIR)

    @property
    def place(self) -> bytes:
        """The directory that copies go to."""
        return naming.making(self.dest, self.release) if self.release else self.dest

    def linked_to(self, current: str) -> bytes:
        """The directory that files of a release are linked to where they are as in it; b"": none."""
        return naming.whole(self.dest, current) if self.release and current else b""

    @property
    def streams(self) -> bool:
        """Are hosts that have the same served by a stream?"""
        return self.copies and self.method in (Method.AUTO, Method.STREAM)

    @property
    def swarms(self) -> bool:
        """Do hosts that differ get their files from each other?"""
        return self.copies and self.method is Method.SWARM

    @property
    def may_swarm(self) -> bool:
        """Is that still to be decided?"""
        return self.copies and self.method is Method.AUTO and self.can_seed

    @property
    def over_links(self) -> bool:
        """Do copies from one host to another go over the links of the tree?"""
        return self.method is not Method.RSYNC_TCP


@dataclass(frozen=True, slots=True)
class GatherOptions:
    """What to bring from hosts, and where to. Paths are bytes: file names need not be text."""

    sources: tuple[bytes, ...]
    """Absolute paths on the hosts; with a trailing slash, what is in the directory and not itself."""
    dest: bytes
    """An absolute path at the root: the directory that gets one for each host."""
    excludes: tuple[bytes, ...] = ()
    """Patterns of rsync(1)."""
    numeric_ids: bool = False
    bwlimit_kib_s: int | None = None
    """For each host."""
