"""Host patterns of Ansible's inventories: `web[01:20].example.org`, `db-[a:f]`, `n[0:8:2]`, `name:port`."""

from __future__ import annotations

import re
import string

from nile.topology.hostsets import HOSTS_MAX, check_name
from nile.topology.refusal import Refusal

_BRACKETS = re.compile(r"\[([^][]*)\]")
_ADDRESS = re.compile(r"\[([0-9A-Fa-f:.]+(?:%[A-Za-z0-9_.-]+)?)\](?::(\d+))?")
_REMEDY = "write a range as [01:20], [1:9:2] or [a:f]"


def split_port(pattern: str) -> tuple[str, str]:
    """A pattern, and the port behind it ("" where there is none); an IPv6 address with one is in brackets."""
    address = _ADDRESS.fullmatch(pattern)
    if address and address[1].count(":") > 1:
        return address[1], address[2] or ""
    plain = _BRACKETS.sub(lambda found: "." * len(found[0]), pattern)
    if plain.count(":") != 1:
        return pattern, ""
    at = plain.index(":")
    return pattern[:at], pattern[at + 1 :]


def expand(pattern: str) -> list[str]:
    """The names that a pattern stands for; raises `Refusal` unless each can be a host's."""
    names = [""]
    last = 0
    for found in _BRACKETS.finditer(pattern):
        values = _values(found[1], pattern)
        if len(names) * len(values) > HOSTS_MAX:
            raise Refusal(
                f"'{pattern}' names too many hosts", f"at most {HOSTS_MAX} are allowed in one range"
            )
        before = pattern[last : found.start()]
        names = [name + before + value for name in names for value in values]
        last = found.end()
    names = [name + pattern[last:] for name in names]
    for name in names:
        check_name(name)
    return names


def _values(text: str, pattern: str) -> list[str]:
    """What one pair of brackets stands for."""
    begin, colon, rest = text.partition(":")
    end, _, step = rest.partition(":")
    if not colon or not end or not re.fullmatch(r"[1-9]\d{0,8}|", step):
        raise Refusal(f"[{text}] in '{pattern}' is no range", _REMEDY)
    if len(begin) == len(end) == 1 and begin in string.ascii_letters and end in string.ascii_letters:
        letters = string.ascii_letters
        found = list(letters[letters.index(begin) : letters.index(end) + 1 : int(step or 1)])
    else:
        found = _numbers(begin or "0", end, int(step or 1), pattern)
    if not found:
        raise Refusal(f"[{text}] in '{pattern}' ends before it begins", _REMEDY)
    return found


def _numbers(begin: str, end: str, step: int, pattern: str) -> list[str]:
    if not re.fullmatch(r"\d{1,9}", begin) or not re.fullmatch(r"\d{1,9}", end):
        raise Refusal(f"[{begin}:{end}] in '{pattern}' is no range", _REMEDY)
    width = len(begin) if begin.startswith("0") and len(begin) > 1 else 0
    if width and len(end) != width:
        raise Refusal(
            f"[{begin}:{end}] in '{pattern}' has ends of different length", "write both with leading zeros"
        )
    if (int(end) - int(begin)) // step >= HOSTS_MAX:
        raise Refusal(f"'{pattern}' names too many hosts", f"at most {HOSTS_MAX} are allowed in one range")
    return [f"{number:0{width}}" for number in range(int(begin), int(end) + 1, step)]
