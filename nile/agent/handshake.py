"""The first stage, and the parent's side of it: pure.

The parent runs one line on the child. A POSIX shell looks for a Python, and
that Python announces itself on standard output:

    NONCE py MAGIC VERSION      e.g.  4f2a... py a70d0d0a 3.11.2
    NONCE sh                    no Python of 3.6 or later was found

Whatever a banner or a noisy profile printed before is passed over. The parent
answers with a line that holds a length, and that many bytes: the bundle (see
`Bundle`), which becomes the agent. Nothing touches a disk. From then on both
sides speak frames, the child first: what the parent said sooner would be lost.

The line holds no quote, backslash, exclamation mark or newline inside its
quotes, so that sh, bash, zsh, csh and fish all read it alike. A candidate that
isn't there, is too old or can't start falls through to the next; one that died
by a signal had become an agent, so nothing follows it.
"""

import marshal
import sys
import zlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Optional, Sequence, Tuple

CANDIDATES = ("python3", "/usr/libexec/platform-python") + tuple("python3.%d" % n for n in range(14, 5, -1))

_SHELL = (
    "for p in %s; do command -v $p >/dev/null 2>&1 || continue; "
    '$p -BISc "$0" $1; r=$?; if [ $r = 0 ] || [ $r -gt 128 ]; then exit; fi; done; echo; echo $1 sh'
)

# Whatever goes wrong once it has announced itself ends it quietly, with status 0: the shell tries no further
# Python. `b` is the bundle, its first part the source or the code of nile.agent.start.
_PYTHON = (
    "import sys,posix,marshal,zlib;"
    "v=sys.version_info[:3];"
    "v<(3,6) and sys.exit(90);"
    'M=sys.modules["_frozen_importlib_external"].MAGIC_NUMBER.hex();'
    'posix.write(1,("%c%s py %s %d.%d.%d%c"%((10,sys.argv[1],M)+v+(10,))).encode());'
    "sys.excepthook=lambda*_:posix._exit(0);"
    "f=sys.stdin.buffer;"
    "n=int(f.readline());"
    "b=marshal.loads(zlib.decompress(f.read(n)));"
    "exec(b[0]);"
    "main(b)"
)

START = "nile.agent.start"
MOST_BYTES = 20480  # that an agent is to take on the wire
_LEVELS = (7, 8, 9)  # of zlib's, which take 2, 5 and 10 ms of a relay's CPU for 100 bytes less each

MOST_NOISE = 4 << 20
_LONGEST_LINE = 256


def command_line(nonce: str) -> str:
    """The line that a parent runs on a child. `nonce` is a word of letters and digits."""
    shell = _SHELL % " ".join(CANDIDATES)
    return "exec sh -c '%s' '%s' %s" % (shell, _PYTHON, nonce)


class HandshakeError(Exception):
    """The first stage can't become an agent; `code` classifies it as `nile.events.Code` does."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class Bundle:
    """The agent as bytes: what a node was made of, and what it hands to its children.

    `sources` are (module name, source) in an order that satisfies their
    imports, nile.agent.start among them; those named in `relay_only` go to
    nodes with children alone, those in `late` are source wherever they go and
    compiled when they are first imported. `magic` is the bytecode magic of the
    running Python (hex). A child of the same Python gets code already
    compiled; any other gets source. `codes` are the modules that this Python
    has compiled already, by name.

    What travels is (start, modules, late, relay_only): the source or code of
    nile.agent.start, (name, source or code) of the modules, and names.
    """

    def __init__(
        self,
        sources: "Sequence[Tuple[str, bytes]]",
        relay_only: "Sequence[str]",
        magic: str,
        codes: "Optional[Dict[str, Any]]" = None,
        late: "Sequence[str]" = (),
    ) -> None:
        self.sources = list(sources)
        self.relay_only = list(relay_only)
        self.late = list(late)
        self.magic = magic
        self._codes = codes or {}
        self._packed: "dict[Tuple[bool, bool], bytes]" = {}

    def packed(self, relay: bool, magic: str) -> bytes:
        """What to send to a child with that magic: a length line and the compressed bundle."""
        compiled = magic == self.magic
        key = (relay, compiled)
        if key not in self._packed:
            whole = self._marshal(relay, compiled)
            for level in _LEVELS:
                data = zlib.compress(whole, level)
                if len(data) <= MOST_BYTES:
                    break
            self._packed[key] = b"%d\n" % len(data) + data
        return self._packed[key]

    def _marshal(self, relay: bool, compiled: bool) -> bytes:
        """A relay gets source: it hands that on to any Python. A leaf gets code where it can use it."""
        start = dict(self.sources).get(START, b"")
        if relay:
            return marshal.dumps((start, self.sources, self.late, self.relay_only), 2)
        not_there = [START] + self.relay_only
        leaf = [(name, source) for name, source in self.sources if name not in not_there]
        late = [name for name in self.late if name not in not_there]
        if compiled:
            now = [(n, source if n in late else self._compiled(n, source)) for n, source in leaf]
            return marshal.dumps((self._compiled(START, start), now, late, None))
        return marshal.dumps((start, leaf, late, None), 2)

    def _compiled(self, name: str, source: bytes) -> "Any":
        if not source:
            return source
        code = self._codes.get(name)
        if code is None:
            code = compile(source, name.replace(".", "/") + ".py", "exec", dont_inherit=True)
        return _slim(code, code.co_filename if name == START else "")


def _slim(code: "Any", file: str) -> "Any":
    """The same code in half the bytes: lines, columns and names that nobody asks for go.

    An exception tells where it comes from by function and offset of the instruction; the name of the file
    comes back where it is loaded.
    """
    consts = tuple(_slim(const, file) if isinstance(const, type(code)) else const for const in code.co_consts)
    arguments = code.co_argcount + code.co_kwonlyargcount + bool(code.co_flags & 4) + bool(code.co_flags & 8)
    # A short name was given on the way (see nile.bootstrap.shorten): no caller knows it.
    kept = set([name for name in code.co_varnames[:arguments] if len(name) > 2] + list(code.co_cellvars))
    names = tuple(name if name in kept else "_" for name in code.co_varnames)
    changes = {
        "co_consts": consts,
        "co_varnames": names,
        "co_stacksize": (code.co_stacksize + 31) // 32 * 32,  # mostly one size: it compresses better
        "co_firstlineno": 1,
        "co_filename": file,
        "co_linetable" if sys.version_info >= (3, 10) else "co_lnotab": b"",
    }
    if sys.version_info >= (3, 11):
        changes["co_qualname"] = "_"
    if hasattr(code, "replace"):
        return code.replace(**changes)
    # Python 3.7 and before. This order is that of the type's own arguments.
    order = (
        "argcount kwonlyargcount nlocals stacksize flags code consts names varnames filename name firstlineno"
    )
    fields = ["co_" + field for field in (order + " lnotab freevars cellvars").split()]
    return type(code)(*[changes.get(field, getattr(code, field)) for field in fields])


class Handshake:
    """The parent's side: feed it what the child prints, send what it answers."""

    def __init__(self, nonce: str, bundle: Bundle, relay: bool) -> None:
        # At the beginning of a line: a login may echo the command line, and the nonce in it.
        self._mark = b"\n%s " % nonce.encode()
        self._bundle = bundle
        self._relay = relay
        self._buffer = b""
        self._noise = 0
        self.python = ""
        self.rest = b""

    def feed(self, data: bytes) -> "Optional[bytes]":
        """The answer to send once the child has announced itself, else None; raises HandshakeError.

        Bytes behind the announcement are in `rest`.
        """
        self._buffer += data
        start = self._buffer.find(self._mark)
        if start < 0:
            self._forget_noise()
            return None
        line, newline, rest = self._buffer[start + 1 :].partition(b"\n")
        if not newline:
            if len(line) > _LONGEST_LINE:
                raise HandshakeError("agent", "the first stage announced itself with rubbish")
            return None
        self.rest = rest
        return self._answer(line.split())

    def _forget_noise(self) -> None:
        kept = self._buffer[-len(self._mark) :]
        self._noise += len(self._buffer) - len(kept)
        self._buffer = kept
        if self._noise > MOST_NOISE:
            raise HandshakeError("agent", "the login prints without end and never starts the first stage")

    def _answer(self, words: "list[bytes]") -> bytes:
        if words[1:] == [b"sh"]:
            raise HandshakeError("no-python", "no Python 3.6 or later was found")
        if len(words) != 4 or words[1] != b"py":
            raise HandshakeError("agent", "the first stage announced itself with rubbish")
        self.python = words[3].decode("ascii", "replace")
        return self._bundle.packed(self._relay, words[2].decode("ascii", "replace"))
