"""Amounts and rates, as people read and write them."""

from __future__ import annotations

import pytest

from nile.topology.amounts import rate, size
from nile.topology.refusal import Refusal


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "0 bytes"), (1023, "1023 bytes"), (1536, "1.5 KiB"), (5 << 20, "5.0 MiB"), (3 << 40, "3.0 TiB")],
)
def test_sizes(count: int, words: str) -> None:
    assert size(count) == words


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("1gbit", 125e6),
        ("200mbit/s", 25e6),
        ("2.5 Gbit", 312.5e6),
        ("100MiB/s", 100 << 20),
        ("8kbit", 1000),
        ("1GiB", 1 << 30),
    ],
)
def test_rates(text: str, found: float) -> None:
    assert rate(text) == found


@pytest.mark.parametrize(
    "text", ["", "1", "gbit", "0gbit", "-1gbit", "1gb", "1e3mbit", "1 gbit/min", "\u0661gbit"]
)
def test_what_is_no_rate(text: str) -> None:
    with pytest.raises(Refusal):
        rate(text)
