"""The wires of a netns lab: a bridge per switch, a core between several, a veth pair per host.

Everything is made in the supervisor's own network namespace, so the machine's
own shows nothing of it, and all is gone with the last process of the lab.
"""

from __future__ import annotations

import contextlib
import fcntl
import socket
import struct
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nile.errors import LabError
from nile.lab.spec import LabSpec, bits_per_second

NETWORK = "10.77"
MASK = "255.255.0.0"
ROOT_ADDRESS = f"{NETWORK}.0.1"
PER_BLOCK = 250
QUEUE = "50ms"
"""How long a shaped port keeps a packet waiting before it drops."""
BURST_S = 0.005
BURST_MIN = 32768
PACKETS = 131072
"""Room for two packets of 64 KiB: with less the kernel cuts each into frames, at every port that it passes.
A real card does that by itself; here it cost more than all that the hosts did (24 hosts at 50 Mbit/s:
51 CPU s of 106, and 10 of 61 with this)."""
PACKETS_S = 0.025  # that a burst may last for them

SIOCGIFFLAGS, SIOCSIFFLAGS, SIOCSIFADDR, SIOCSIFNETMASK = 0x8913, 0x8914, 0x8916, 0x891C
IFF_UP = 1
"""From linux/sockios.h and linux/if.h."""

CORE = "core"
NEIGHBOURS = Path("/proc/sys/net/ipv4/neigh/default")
ROOM = {"gc_thresh1": 16384, "gc_thresh2": 32768, "gc_thresh3": 65536}
"""Entries in the kernel's table of neighbours. It is one for all namespaces of a machine, and has 1024 by
default: 400 hosts in a tree need 800, and whom it has no room for there is no route to."""


def host_addresses(names: tuple[str, ...]) -> dict[str, str]:
    """Name -> address, 10.77.1.1 and on."""
    return {name: f"{NETWORK}.{1 + i // PER_BLOCK}.{1 + i % PER_BLOCK}" for i, name in enumerate(names)}


@dataclass(frozen=True, slots=True)
class Wires:
    """The ports and switches that a spec asks for; `run` must be in the core's namespace."""

    spec: LabSpec

    def lay(self) -> None:
        """Make the switches, and their uplinks where there are several or an uplink has a speed."""
        silence_ipv6()
        spare_bridges()
        switches = list(self.spec.racks())
        lines = [f"link add name {name} type bridge mcast_snooping 0" for name in switches]
        if self._has_core():
            lines.append(f"link add name {CORE} type bridge mcast_snooping 0")
            for switch in switches:
                up, down = uplink_ports(switch)
                lines.append(f"link add name {up} type veth peer name {down}")
                lines += [f"link set {up} master {CORE} up", f"link set {down} master {switch} up"]
        lines += [f"link set {name} up" for name in (*switches, *([CORE] if self._has_core() else []))]
        ip(lines)
        if self.spec.uplink:
            tc([shape(port, self.spec.uplink) for switch in switches for port in uplink_ports(switch)])

    def plug(self, port: str, pid: int, address: str, switch: str | None) -> None:
        """Give a process's namespace an eth0, with its other end as `port` of a switch.

        Without a switch it goes where the root has its place. Its MAC follows
        from its IP address: a host that starts again is still found by
        neighbours that remember it.
        """
        bridge = switch or (CORE if self._has_core() else next(iter(self.spec.racks())))
        ip(
            [
                f"link add name {port} type veth peer name eth0 address {mac(address)} netns {pid}",
                f"link set {port} master {bridge} up",
            ]
        )
        if self.spec.rate:
            tc([shape(port, self.spec.rate)])

    def unplug(self, port: str) -> None:
        """Remove a port, if it is still there."""
        subprocess.run(["ip", "link", "delete", port], check=False, stderr=subprocess.DEVNULL)

    def set_port(self, port: str, up: bool) -> None:
        """Switch a port off or on."""
        ip([f"link set {port} {'up' if up else 'down'}"])

    def set_rate(self, port: str, pid: int, part: float) -> None:
        """Have a port, and its other end at a process, go at this part of the rate that the lab gave it."""
        if not self.spec.rate:
            raise LabError("its ports have no rate", remedy="give one: nile lab up --rate 200mbit")
        tc([shape(port, self.spec.rate, part, "replace")])
        tc([shape("eth0", self.spec.rate, part, "replace")], inside=pid)

    def _has_core(self) -> bool:
        return self.spec.switches > 1 or self.spec.uplink is not None


def uplink_ports(switch: str) -> tuple[str, str]:
    """Ports of an uplink: at the core, at the switch."""
    return f"{switch}-down", f"{switch}-up"


def mac(address: str) -> str:
    """A locally administered MAC made of an IP address."""
    return ":".join(f"{byte:02x}" for byte in (2, 0, *socket.inet_aton(address)))


def shape(port: str, rate: str, part: float = 1, do: str = "add") -> str:
    """The line for tc that bounds what leaves by a port, to a part of a rate.

    The burst is the same for every part: of a queue that is there already, a packet that is larger
    than a burst would never leave, and all others would wait behind it.
    """
    bits = bits_per_second(rate, "rate")
    burst = max(BURST_MIN, int(bits / 8 * BURST_S), min(PACKETS, int(bits / 8 * PACKETS_S)))
    return f"qdisc {do} dev {port} root tbf rate {int(bits * part)}bit burst {burst} latency {QUEUE}"


def configure(address: str) -> None:
    """Bring up lo, and eth0 with an address, in the namespace that the caller is in."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for call, value in ((SIOCSIFADDR, address), (SIOCSIFNETMASK, MASK)):
            fcntl.ioctl(sock, call, _ifreq("eth0", _sockaddr(value)))
        for device in ("lo", "eth0"):
            reply = fcntl.ioctl(sock, SIOCGIFFLAGS, _ifreq(device, b""))
            flags = struct.unpack_from("H", reply, 16)[0] | IFF_UP
            fcntl.ioctl(sock, SIOCSIFFLAGS, _ifreq(device, struct.pack("H", flags)))


def make_room(where: Path = NEIGHBOURS) -> None:
    """For the neighbours of many hosts: in the machine's own namespace, and for good, since labs share it.

    Where that isn't allowed (in a container, say), it stays as it is.
    """
    for name, entries in ROOM.items():
        with contextlib.suppress(OSError):
            if int((where / name).read_text()) < entries:
                (where / name).write_text(str(entries))


def silence_ipv6() -> None:
    """No IPv6 in the namespace that the caller is in: 200 hosts' neighbour discovery is a storm."""
    for which in ("all", "default"):
        _write_sysctl(f"net/ipv6/conf/{which}/disable_ipv6", "1")


def spare_bridges() -> None:
    """No firewall between ports of a switch, in the namespace that the caller is in."""
    for which in ("iptables", "ip6tables", "arptables"):
        _write_sysctl(f"net/bridge/bridge-nf-call-{which}", "0")


def ip(lines: list[str]) -> None:
    """Have ip(8) do several things; LabError with its message."""
    _batch("ip", lines)


def tc(lines: list[str], inside: int = 0) -> None:
    """Have tc(8) do several things, in the network namespace of a process if one is named; LabError."""
    _batch("tc", lines, ["nsenter", "--net", "--target", str(inside)] if inside else [])


def _batch(program: str, lines: list[str], before: Sequence[str] = ()) -> None:
    done = subprocess.run(
        [*before, program, "-batch", "-"],
        input="\n".join(lines) + "\n",
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise LabError(f"{program} failed: {done.stderr.strip()}", remedy=f"it was asked for: {lines[0]} ...")


def _ifreq(device: str, value: bytes) -> bytes:
    return struct.pack("16s24s", device.encode(), value)


def _sockaddr(address: str) -> bytes:
    return struct.pack("=HH4s8x", socket.AF_INET, 0, socket.inet_aton(address))


def _write_sysctl(path: str, value: str) -> None:
    try:
        with open(f"/proc/sys/{path}", "w") as out:  # noqa: PTH123
            out.write(value)
    except FileNotFoundError:
        pass  # a kernel without that
