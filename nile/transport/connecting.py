"""A TCP connection to a host, with errors that say which of its addresses failed and why.

Not left to asyncio's create_connection, which folds the errors of several
addresses into one without an errno, and resolves names on a pool of a few
threads that one dead name server can fill.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import os
import socket
from concurrent.futures import Executor
from dataclasses import dataclass

from nile.events import Code
from nile.transport.base import LoginFailed
from nile.transport.remedies import MORE_FILES

_UNREACHABLE = {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN, errno.EADDRNOTAVAIL}
_NO_FILES = {errno.EMFILE, errno.ENFILE}
_RESET = {errno.ECONNRESET, errno.ECONNABORTED, errno.EPIPE}

Address = tuple[socket.AddressFamily, tuple[object, ...]]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to connect to, and from where; `family` as in socket.getaddrinfo, `bind` an address or empty."""

    host: str
    port: int
    family: int = socket.AF_UNSPEC
    bind: str = ""


async def open_socket(endpoint: Endpoint, executor: Executor | None = None) -> socket.socket:
    """A connected, non-blocking socket; raises `LoginFailed` and, cancelled, leaves none behind."""
    failure: OSError | None = None
    for family, address in await _resolve(endpoint, executor):
        try:
            return await _connect(family, address, endpoint.bind)
        except OSError as exc:
            failure = failure or exc
    assert failure is not None
    raise connect_failed(failure, endpoint)


def connect_failed(exc: OSError, endpoint: Endpoint) -> LoginFailed:
    """What a failed connect means."""
    where = f"{endpoint.host} port {endpoint.port}"
    if out_of_files(exc):
        return no_more_files(f"can't connect to {where}", exc)
    if exc.errno == errno.ECONNREFUSED:
        return LoginFailed(Code.REFUSED, f"{where} refuses connections")
    if exc.errno in _UNREACHABLE:
        return LoginFailed(Code.NO_ROUTE, f"no way to {where}: {exc.strerror}")
    if isinstance(exc, TimeoutError):
        return LoginFailed(Code.CONNECT_TIMEOUT, f"{where} doesn't answer")
    if exc.errno in _RESET:
        return LoginFailed(Code.STARTUPS, f"{where} dropped the connection at once", retry=True)
    return LoginFailed(Code.NO_ROUTE, f"can't connect to {where}: {exc.strerror or exc}")


def out_of_files(exc: BaseException | None) -> bool:
    """Did it fail because this process, or this machine, may open no more files? Causes count."""
    while exc is not None:
        if isinstance(exc, OSError) and exc.errno in _NO_FILES:
            return True
        exc = exc.__cause__
    return False


def starvation() -> OSError | None:
    """The error with which opening a file fails now for that reason: for errors that hide theirs."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as exc:
        return exc if out_of_files(exc) else None
    return None


def no_more_files(what: str, exc: BaseException) -> LoginFailed:
    """What came to nothing for that reason. Others may end meanwhile: it is worth another try."""
    return LoginFailed(Code.OPEN_FILES, f"{what}: {getattr(exc, 'strerror', exc)}", MORE_FILES, retry=True)


async def _connect(family: socket.AddressFamily, address: tuple[object, ...], bind: str) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        if bind:
            sock.bind((bind, 0))
        await asyncio.get_running_loop().sock_connect(sock, address)
    except BaseException:
        sock.close()
        raise
    return sock


async def _resolve(endpoint: Endpoint, executor: Executor | None) -> list[Address]:
    literal = _literal(endpoint)
    if literal is not None:
        return [literal]
    try:
        found = await asyncio.get_running_loop().run_in_executor(
            executor,
            lambda: socket.getaddrinfo(
                endpoint.host, endpoint.port, family=endpoint.family, type=socket.SOCK_STREAM
            ),
        )
    except (socket.gaierror, UnicodeError) as exc:
        if starved := starvation():  # a resolver that can't read its own files knows no name
            raise no_more_files(f"can't look {endpoint.host} up", starved) from exc
        reason = exc.strerror if isinstance(exc, socket.gaierror) else "not a host name"
        raise LoginFailed(Code.NAME, f"the name {endpoint.host} doesn't resolve: {reason}") from exc
    except OSError as exc:
        raise connect_failed(exc, endpoint) from exc
    return [(family, address) for family, _, _, _, address in found]


def _literal(endpoint: Endpoint) -> Address | None:
    """An IPv4 or IPv6 address needs no thread; one with a scope does (the interface's number)."""
    try:
        address = ipaddress.ip_address(endpoint.host)
    except ValueError:
        return None
    if address.version == 4:
        return socket.AF_INET, (endpoint.host, endpoint.port)
    if "%" in endpoint.host:
        return None
    return socket.AF_INET6, (endpoint.host, endpoint.port, 0, 0)
