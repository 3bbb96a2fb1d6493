"""The JSON schema of route files, made of the fields that also validate them.

python -m nile.topology.schema > docs/reference/route-file.schema.json
"""

from __future__ import annotations

import json
import sys
from typing import Any

from nile.topology.document import GROUP, HOST, ROUTE_FILE, SSH
from nile.topology.drawing import BELOW_SCHEMA


def route_file_schema() -> dict[str, Any]:
    """The schema (JSON Schema 2020-12).

    It says what an editor can check; what takes knowledge of groups and hosts is left to `nile check`.
    """
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Nile route file",
        **ROUTE_FILE.schema(),
        "$defs": {
            **{record.ref: record.definition() for record in (SSH, GROUP, HOST)},
            "below": BELOW_SCHEMA,
        },
    }


def schema_text() -> str:
    """The schema as it is published in the documentation."""
    return json.dumps(route_file_schema(), indent=2) + "\n"


if __name__ == "__main__":
    sys.stdout.write(schema_text())
