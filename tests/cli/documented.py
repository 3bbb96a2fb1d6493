"""What docs/reference/json.md says of the commands that read the store."""

from __future__ import annotations

import re
from pathlib import Path

JSON = Path(__file__).parents[2] / "docs" / "reference" / "json.md"


def fields(command: str, prefix: str = "") -> set[str]:
    """The names in the first column of a command's table: those below `prefix`, else the outermost."""
    body = re.split(r"^## ", JSON.read_text().split(f"## `{command}`\n")[1], flags=re.MULTILINE)[0]
    names = set()
    for cell in re.findall(r"^\| (`.*?) \|", body, flags=re.MULTILINE):
        first, *others = re.findall(r"`([^`]+)`", cell)
        row = first.rpartition(".")[0]
        names |= {first, *(other if "." in other or not row else f"{row}.{other}" for other in others)}
    if prefix:
        return {name.removeprefix(prefix) for name in names if name.startswith(prefix)}
    return {name for name in names if "." not in name}
