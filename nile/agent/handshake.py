"""The first stage, and the parent's side of it: pure.

The parent runs one line on the child. A POSIX shell looks for a Python, and
that Python announces itself on standard output:

    NONCE py MAGIC VERSION      e.g.  4f2a... py a70d0d0a 3.11.2
    NONCE sh                    no Python of 3.6 or later was found

Whatever a banner or a noisy profile printed before is passed over. The parent
answers with a line that holds a length, and that many bytes: the bundle (see
`Bundle`), which becomes the agent. Nothing touches a disk. From then on both
sides speak frames.

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

_PYTHON = (
    "import sys,os;"
    "v=sys.version_info;"
    "v<(3,6) and sys.exit(90);"
    "import marshal,zlib;"
    'M=sys.modules["_frozen_importlib_external"].MAGIC_NUMBER.hex();'
    'os.write(1,("%c%s py %s %d.%d.%d%c"%(10,sys.argv[1],M,v[0],v[1],v[2],10)).encode());'
    'n=b"";exec("while not n.endswith(bytes([10])): n+=os.read(0,1) or os._exit(0)");'
    'n=int(n);d=b"";exec("while len(d)<n: d+=os.read(0,n-len(d)) or os._exit(0)");'
    "b=marshal.loads(zlib.decompress(d));"
    "exec(b[0])"
)

# Turns a bundle into modules; `b` is the bundle. Runs in the first stage's namespace. What goes wrong is said
# on standard error, where the parent finds it; the status is 0, so that the shell tries no further Python.
LOADER = """
codes = {}
def load(modules):
    for name, code in modules:
        module = type(sys)(name)
        module.__path__ = []
        sys.modules[name] = module
        head, _, tail = name.rpartition(".")
        if head:
            setattr(sys.modules[head], tail, module)
        if isinstance(code, bytes):
            code = codes[name] = compile(code, name.replace(".", "/") + ".py", "exec", dont_inherit=True)
        exec(code, module.__dict__)
try:
    load(b[1])
    sys.modules["nile.agent.loop"].main(b + (codes,))
except Exception as error:
    at = error.__traceback__
    text = "nile agent: %r" % error
    while at:
        text += " %s:%s" % (at.tb_frame.f_code.co_filename, at.tb_lineno)
        at = at.tb_next
    os.write(2, text.encode("utf-8", "replace"))
finally:
    os._exit(0)
"""

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
    imports; those named in `relay_only` go to nodes with children alone.
    `magic` is the bytecode magic of the running Python (hex). A child of the
    same Python gets code already compiled; any other gets source. `codes` are
    the modules that this Python has compiled already, by name.
    """

    def __init__(
        self,
        sources: "Sequence[Tuple[str, bytes]]",
        relay_only: "Sequence[str]",
        magic: str,
        codes: "Optional[Dict[str, Any]]" = None,
    ) -> None:
        self.sources = list(sources)
        self.relay_only = list(relay_only)
        self.magic = magic
        self._codes = codes or {}
        self._packed: "dict[Tuple[bool, bool], bytes]" = {}

    def packed(self, relay: bool, magic: str) -> bytes:
        """What to send to a child with that magic: a length line and the compressed bundle."""
        compiled = magic == self.magic
        key = (relay, compiled)
        if key not in self._packed:
            data = zlib.compress(self._marshal(relay, compiled), 9)
            self._packed[key] = b"%d\n" % len(data) + data
        return self._packed[key]

    def _marshal(self, relay: bool, compiled: bool) -> bytes:
        """A relay gets source: it hands that on to any Python. A leaf gets code where it can use it."""
        if relay:
            return marshal.dumps((LOADER, self.sources, self.relay_only), 2)
        leaf = [(name, source) for name, source in self.sources if name not in self.relay_only]
        if compiled:
            leaf = [(name, source and self._compiled(name, source)) for name, source in leaf]
            return marshal.dumps((LOADER, leaf, None))
        return marshal.dumps((LOADER, leaf, None), 2)

    def _compiled(self, name: str, source: bytes) -> "Any":
        code = self._codes.get(name)
        if code is None:
            code = compile(source, name.replace(".", "/") + ".py", "exec", dont_inherit=True)
        return _slim(code)


def _slim(code: "Any") -> "Any":
    """The same code without columns and qualified names: a third of the bytes from 3.11 on; lines stay."""
    if sys.version_info < (3, 11):
        return code
    consts = tuple(_slim(const) if isinstance(const, type(code)) else const for const in code.co_consts)
    return code.replace(co_consts=consts, co_qualname=code.co_name, co_linetable=_line_table(code))


def _line_table(code: "Any") -> bytes:
    """The location table (CPython's Objects/locations.md) with entries of kinds 13 and 15 only."""
    table = bytearray()
    line = code.co_firstlineno
    for start, end, at in code.co_lines():
        units = (end - start) // 2
        while units > 0:
            span = min(8, units)
            units -= span
            if at is None:
                table.append(0x80 | 15 << 3 | span - 1)
                continue
            delta, line = at - line, at
            table.append(0x80 | 13 << 3 | span - 1)
            rest = -delta << 1 | 1 if delta < 0 else delta << 1
            while rest > 63:
                table.append(64 | rest & 63)
                rest >>= 6
            table.append(rest)
    return bytes(table)


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
