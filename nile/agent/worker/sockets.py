"""Sockets without the module `socket`: that makes enumerations of its numbers, which takes each host 3 ms."""

import _socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Tuple


class Socket(_socket.socket):
    """One that accepts others of its kind, and through which TLS can go: `_ssl` wants a weak reference."""

    __slots__ = ("__weakref__",)

    def accept(self) -> "Tuple[Socket, Any]":
        """Who came, and from where; raises OSError."""
        self_: "Any" = self  # type checkers don't know all that it has
        fd, whence = self_._accept()
        return Socket(fileno=fd), whence
