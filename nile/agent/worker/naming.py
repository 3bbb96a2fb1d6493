"""How releases are called, where they are below a destination, what ends a flip of them. Pure."""

RELEASES = b"releases"
CURRENT, PREVIOUS = b"current", b"previous"
MAKING = b".nile-making-"  # how the names of releases begin that aren't whole yet
GONE = b".nile-gone-"  # and of those that are being removed
SIGNED = b".nile-signed"  # what is written down of the last delivery that was signed
MADE = b".nile-made"  # when each of the releases was made
FLIP = b".nile-flip"  # what is written down of the last change of `current`
MOST_LETTERS = 100
LATEST_S = 120.0  # from staging to the flip: who hears of it later may have stood still, and the root be gone
END_IT = "end it by `nile releases --finish`, or take it back by `nile releases --rollback`"
AS_IS = "`nile releases --as-is` ends it and leaves `current` so; `nile rollback --to NAME` changes that then"
_NAME = r"[A-Za-z0-9][A-Za-z0-9._+-]{0,%d}\Z" % (MOST_LETTERS - 1)


def is_name(text: object) -> bool:
    """May a release be called so? Letters, digits and . _ + - are allowed, the first one is no sign."""
    import re  # it takes 2 ms to load, and only releases have names

    return isinstance(text, str) and re.match(_NAME, text) is not None


def whole(dest: bytes, name: str) -> bytes:
    """Where a release is once it is whole."""
    return b"/".join((dest, RELEASES, name.encode()))


def making(dest: bytes, name: str) -> bytes:
    """Where it is until then."""
    return b"/".join((dest, RELEASES, MAKING + name.encode()))
