"""Amounts of bytes, and rates, as people read and write them."""

from __future__ import annotations

import re

from nile.topology.refusal import Refusal

_SCALE = ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))
_BITS = {"kbit": 1e3, "mbit": 1e6, "gbit": 1e9}
_BYTES = {"kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30}
_RATE = re.compile(r"(\d{1,9}(?:\.\d{1,9})?) ?([kmg](?:bit|ib))(?:/s)?", re.IGNORECASE | re.ASCII)


_AMOUNT = re.compile(r"(\d{1,9}(?:\.\d{1,9})?) ?([kmgt])(?:i?b)?", re.IGNORECASE | re.ASCII)
_POWERS = {"k": 10, "m": 20, "g": 30, "t": 40}


def amount(text: str) -> int:
    """Bytes: `512M`, `2G`, `1.5GiB` (powers of 1024); raises `Refusal`."""
    found = _AMOUNT.fullmatch(text.strip())
    if found is None or float(found[1]) <= 0:
        raise Refusal(
            f"'{text}' is no amount above 0 with a unit", "write a number and K, M, G or T, as in 512M"
        )
    return int(float(found[1]) * (1 << _POWERS[found[2].lower()]))


def size(count: float) -> str:
    """`12.3 MiB`."""
    for unit, name in _SCALE:
        if count >= unit:
            return f"{count / unit:.1f} {name}"
    return f"{count:.0f} bytes"


def rate(text: str) -> float:
    """Bytes a second: `1gbit`, `200mbit/s` (powers of ten, as of networks), `100MiB/s`; raises `Refusal`."""
    found = _RATE.fullmatch(text.strip())
    if found is None or float(found[1]) <= 0:
        raise Refusal(
            f"'{text}' is no rate above 0",
            f"write a number and a unit ({', '.join([*_BITS, 'KiB', 'MiB', 'GiB'])}), as in 1gbit",
        )
    unit = found[2].lower()
    return float(found[1]) * (_BITS[unit] / 8 if unit in _BITS else _BYTES[unit])
