"""A relay's logins: between the relay core, one `ssh` process for each child, and the agent's loop."""

import os
import select
import sys

from nile.agent import claims, sshlogin, wire
from nile.agent.child import LOGIN, UP
from nile.agent.handshake import Bundle
from nile.agent.relay import MOST_CONTROL, UNBOUND, Relay
from nile.agent.signsocket import SignSocket
from nile.agent.sshlogin import Login

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Iterable, List, Optional, Sequence, Tuple

    from nile.agent.loop import Agent
    from nile.agent.reach import Reach

GOODBYE_S = 2.0  # how long children may take to end that were told to
SPARE_FDS = 16  # for the pipes of one more login, and for what else an agent opens meanwhile


class Branches:
    """The children of this node, by real ssh."""

    def __init__(self, agent: "Agent", plan: "Dict[str, Any]") -> None:
        self._agent = agent
        node = plan["node"]
        self._own = (node["id"], node["epoch"])
        self._entries: "Dict[int, Dict[str, Any]]" = {}
        self._bundle = _bundle(agent.bundle)
        self._relay = Relay(self._own, plan["shared"], self._bundle, _random, _nonce)
        self._relay.shell = _shell
        self._logins: "Dict[int, Login]" = {}
        self._pids: "Dict[int, int]" = {}
        self._ssh = sshlogin.find_ssh(agent.env)
        self._socket: "Optional[SignSocket]" = None
        self._known_hosts = -1
        self._unwritten = b""  # known hosts that found no room yet
        self._reach: "Optional[Reach]" = None
        self._can_bind: "Optional[bool]" = None
        self._todo: "List[Tuple[Any, ...]]" = []
        directory = _memory_directory(claims.RELAY % (os.getuid(), plan["shared"]["run"], node["id"]))
        if directory is not None:  # the files in memory that the ssh clients need
            agent.own(directory)
            self._known_hosts = _memory_file(directory)
            self._socket = SignSocket(agent, directory, self._pids.get, self._identities, self._sign)

    def adopt(self, entries: "List[Dict[str, Any]]") -> None:
        """More children."""
        for entry in entries:
            self._entries[entry["id"]] = entry
            if entry.get("shell"):
                sys.meta_path[0].add(entry["shell"])  # type: ignore[attr-defined]
        if self._known_hosts >= 0:
            lines = [line + "\n" for entry in entries for line in entry["login"]["known_hosts"]]
            self._unwritten += "".join(lines).encode("utf-8", "surrogateescape")
        self._perform(self._relay.adopt(entries, self._agent.now()))
        for relays in {entry["relay"] for entry in entries}:
            self._bundle.packed(relays, self._bundle.magic)  # while they log in: most have the same Python

    def orphaned(self) -> None:
        """No parent for now."""
        if self._reach:
            self._reach.orphaned()
        self._perform(self._relay.orphaned())

    def attached(self, epoch: int) -> "List[List[Any]]":
        """A parent again, in that epoch; the children that there are."""
        self._own = (self._own[0], epoch)
        self._perform(self._relay.attached(epoch))
        return self._relay.standing()

    # Called by the agent's loop.

    def frame(self, frame: wire.Frame, now: float, sent: "Callable[[], None]") -> None:
        """A downward frame for here or below; `sent()` once a bulk one left our memory."""
        if frame.path or frame.type not in wire.RELAY_TYPES or frame.type in (wire.PERMIT, wire.FORGET):
            self._perform(self._relay.frame(frame, now, sent))
        elif frame.type == wire.ADOPT:
            self.adopt(frame.fields()["entries"])
        elif frame.type == wire.SIGNED:
            body = frame.fields()
            if self._socket:
                self._socket.answer(body["serial"], body["answer"])
        elif frame.type == wire.REACH:
            self._reaching(frame.fields())

    def _reaching(self, body: "Dict[str, Any]") -> None:
        """The first of these frames brings the code that they need."""
        if self._reach is None:
            sys.meta_path[0].add(body["code"])  # type: ignore[attr-defined]
            from nile.agent import reach

            self._reach = reach.Reach(self._agent, self._relay, self._perform)
        self._reach.listen(body)

    def tick(self, now: float) -> None:
        """Deadlines, pings and silence."""
        if self._reach:
            self._reach.tick(now)
        self._perform(self._relay.tick(now))

    def next_tick_s(self) -> float:
        """Seconds until `tick` is due."""
        return self._relay.next_tick_s(self._agent.now())

    def pids(self) -> "Iterable[int]":
        """Processes of ours, which are no descendants of the command."""
        carrier = self._agent.carrier
        return carrier.pids.union(self._pids) if carrier else self._pids

    def has_strangers(self) -> bool:
        """May this process have children that aren't ours? The kernel's list is exact: only we reap them."""
        try:
            with open("/proc/self/task/%d/children" % os.getpid(), "rb") as file:
                return not frozenset(self.pids()).issuperset(map(int, file.read().split()))
        except OSError:
            return True  # a kernel that keeps no such list

    def reaped(self, pid: int, rc: "Optional[int]", signum: "Optional[int]") -> None:
        """A child process ended; ours or not."""
        if self._agent.carrier:
            self._agent.carrier.pids.discard(pid)
        login = self._logins.get(self._pids.pop(pid, -1))
        if login is not None and login.pid == pid:  # else one that was killed, and there is another already
            login.reaped(rc, signum)

    def parent_lost(self) -> None:
        """Fail pending signatures, end every login and link."""
        if self._socket:
            self._socket.close()
            self._socket = None
        if self._agent.carrier:
            self._agent.carrier.close()
        self._perform(self._relay.parent_lost())

    def leave(self, told: bool = False) -> None:
        """End every ssh client; if those below were `told` to end too, once this has reached them."""
        if told:
            self._see_off()
        self.parent_lost()

    def _see_off(self) -> None:
        """Wait, not for long, until the links close by themselves: a client that is killed sends nothing."""
        until = self._agent.now() + GOODBYE_S
        poll = select.poll()
        children = self._relay.children
        logins = [each for each in self._logins.items() if children[each[0]].state == UP]
        open_ones = {login.stdout: child_id for child_id, login in logins if login.stdout >= 0}
        for fd in open_ones:
            poll.register(fd, select.POLLIN)
        while open_ones and self._agent.now() < until:
            for child_id in open_ones.values():
                self._do_flush(child_id)
            for fd, _ in poll.poll(100):
                if not os.read(fd, 65536):
                    poll.unregister(fd)
                    del open_ones[fd]

    # Effects of the relay core.

    def _perform(self, effects: "Iterable[Tuple[Any, ...]]") -> None:
        """In order. What one of them brings about waits its turn: a thousand logins may fail in a row."""
        busy = bool(self._todo)
        self._todo += effects
        at = 0
        while not busy and at < len(self._todo):
            effect = self._todo[at]
            at += 1
            getattr(self, "_do_" + effect[0])(*effect[1:])
        if not busy:
            del self._todo[:]

    def _do_up(self, frame: wire.Frame) -> None:
        self._agent.up(frame)

    def _do_pass(self, frame: wire.Frame, child_id: int) -> None:
        if frame.type in wire.BULK:
            size = len(frame.body)
            self._agent.up(frame, lambda: self._perform(self._relay.take(child_id, size)))
        elif self._agent.parent.waiting() > MOST_CONTROL:
            self._perform(self._relay.overrun(child_id, self._agent.now()))
        else:
            self._agent.up(frame)

    def _do_login(self, child_id: int, command: str) -> None:
        entry = self._entries[child_id]
        if self._ssh is None:
            self._closed(child_id, "no-ssh", "there is no ssh client on the relay")
        elif self._socket is None or not self._has_known_hosts():
            why = "is full" if self._socket else "isn't there, or lets nobody write"
            self._closed(child_id, "no-ssh", "the relay's memory file system (/dev/shm) %s" % why)
        elif entry["login"]["carry"] and not self._binds(self._ssh):
            self._closed(child_id, UNBOUND, "the relay's ssh can't bind signatures to a host")
        elif not self._may_open_more():
            why = "the relay may open no more files (see ulimit -n there)"
            self._closed(child_id, "open-files", why, True)  # whoever of them ends gives some back
        else:
            known_hosts = "/proc/%d/fd/%d" % (os.getpid(), self._known_hosts)
            argv = sshlogin.ssh_argv(self._ssh, entry["login"], known_hosts, entry["connect"])
            self._start(child_id, argv + [command], dict(self._agent.env, SSH_AUTH_SOCK=self._socket.path))

    def _has_known_hosts(self) -> bool:
        """Is every line there? None may be logged in to by half a one; its rest may find room later."""
        try:
            while self._unwritten:
                self._unwritten = self._unwritten[os.write(self._known_hosts, self._unwritten) :]
        except OSError:
            return False
        return True

    def _binds(self, ssh: str) -> bool:
        if self._can_bind is None:
            self._can_bind = sshlogin.binds(ssh, self._agent.env)
        return self._can_bind

    def _may_open_more(self) -> bool:
        """Are there descriptors for one more login? Each under way needs one of the signing socket yet."""
        under_way = sum(self._relay.children[child_id].state == LOGIN for child_id in self._logins)
        most = os.sysconf("SC_OPEN_MAX")
        return most < 0 or len(os.listdir("/proc/self/fd")) + under_way + SPARE_FDS <= most

    def _start(self, child_id: int, argv: "List[str]", env: "Dict[str, str]") -> None:
        def heard(data: bytes) -> None:
            self._perform(self._relay.data(child_id, data, self._agent.now()))

        try:
            login = Login(self._agent, argv, env, heard, lambda *how: self._over(child_id, *how))
        except OSError as error:
            self._closed(child_id, "no-ssh", "ssh could not be started: %s" % error.strerror)
            return
        self._logins[child_id] = login
        self._pids[login.pid] = child_id

    def _over(self, child_id: int, status: int, said: str) -> None:
        """What it means the root knows: it gets the client's exit status, and its words."""
        del self._logins[child_id]
        self._unreach(child_id)
        if self._relay.children[child_id].state == UP:
            self._closed(child_id, "link", said)
        else:
            self._closed(child_id, str(status), said, status == 255 and sshlogin.passes_by(said))

    def _closed(self, child_id: int, code: str, reason: str, retry: bool = False) -> None:
        self._perform(self._relay.closed(child_id, code, reason, retry, self._agent.now()))

    def _do_write(self, child_id: int, data: bytes) -> None:
        self._logins[child_id].write(data, lambda: self._pull(child_id))

    def _do_flush(self, child_id: int) -> None:
        if child_id in self._logins:
            self._do_write(child_id, b"")

    def _pull(self, child_id: int) -> bytes:
        link = self._relay.children[child_id].link
        return link.pull(self._agent.now()) if link is not None else b""

    def _do_hangup(self, child_id: int) -> None:
        login = self._logins.pop(child_id, None)
        if login is not None:
            self._unreach(child_id)
            login.kill()

    def _do_reached(self, frame: wire.Frame) -> None:
        if self._reach:
            self._reach.frame(frame)

    def _unreach(self, child_id: int) -> None:
        """Channels end with the link that carries them."""
        if self._reach:
            self._reach.lost(child_id)

    # Signing.

    def _identities(self, child_id: int) -> "Sequence[Tuple[bytes, str]]":
        return [(blob, comment) for blob, comment in self._entries[child_id]["login"]["identities"]]

    def _sign(self, child_id: int, serial: int, binds: "List[bytes]", request: bytes) -> None:
        entry = self._entries[child_id]
        body = {
            "child": child_id,
            "epoch": entry["epoch"],
            "serial": serial,
            "binds": binds,
            "request": request,
        }
        self._agent.up(wire.Frame(wire.SIGN, self._own[0], self._own[1], (), wire.dumps(body)))


def _shell(*given: "Any") -> "Any":
    """The entry brought the code."""
    from nile.agent import shellleaf

    return shellleaf.begin(*given)


def _bundle(parts: "Tuple[Any, ...]") -> Bundle:
    """What this node was made of, to hand on."""
    import _frozen_importlib_external as importer

    _start, sources, late, relay_only, codes = parts
    return Bundle(sources, relay_only, importer.MAGIC_NUMBER.hex(), codes, late)


def _memory_directory(name: str) -> "Optional[str]":
    """A new 0700 directory on a memory file system, or None where there is none to be had."""
    for base in claims.MEMORY_DIRECTORIES:
        path = base + name
        try:
            os.mkdir(path, 0o700)
        except OSError:
            continue
        return path
    return None


def _memory_file(directory: str) -> int:
    """A file that has no name on any disk; it lives as long as this process."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("nile-known-hosts")
    path = directory + "/known_hosts"
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    os.unlink(path)
    return fd


def _random() -> float:
    return int.from_bytes(os.urandom(4), "big") / 2.0**32


def _nonce() -> str:
    return "nile" + os.urandom(12).hex()
