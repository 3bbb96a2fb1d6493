"""A checker for the part of JSON Schema that events.schema.json uses; it refuses what it doesn't know."""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

SAYS_NOTHING = {"$schema", "title", "description"}
KNOWN = SAYS_NOTHING | {"type", "const", "enum", "minimum", "items", "oneOf", "properties", "required"}
KNOWN |= {"additionalProperties"}
TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
    "null": (type(None),),
}


def violations(value: object, schema: Schema, place: str = "line") -> list[str]:
    """Where and how `value` breaks the schema; empty if it keeps it."""
    assert schema.keys() <= KNOWN, f"the checker doesn't know {schema.keys() - KNOWN}"
    found: list[str] = []
    if "type" in schema and not _is_of(value, schema["type"]):
        return [f"{place} is no {schema['type']}"]
    if "const" in schema and (type(value), value) != (type(schema["const"]), schema["const"]):
        found.append(f"{place} is not {schema['const']!r}")
    if "enum" in schema and value not in schema["enum"]:
        found.append(f"{place} is none of {schema['enum']}")
    if "minimum" in schema and isinstance(value, int | float) and value < schema["minimum"]:
        found.append(f"{place} is less than {schema['minimum']}")
    if "oneOf" in schema:
        tried = [violations(value, one, place) for one in schema["oneOf"]]
        if sum(not one for one in tried) != 1:
            found.append(f"{place} is not exactly one of the forms: {tried}")
    if isinstance(value, list) and "items" in schema:
        for index, item in enumerate(value):
            found += violations(item, schema["items"], f"{place}[{index}]")
    if isinstance(value, dict):
        found += _of_object(value, schema, place)
    return found


def _of_object(value: dict[str, Any], schema: Schema, place: str) -> list[str]:
    properties = schema.get("properties", {})
    found = [f"{place} lacks {name}" for name in schema.get("required", ()) if name not in value]
    if schema.get("additionalProperties") is False:
        found += [f"{place} has {name}" for name in value.keys() - properties.keys()]
    for name in value.keys() & properties.keys():
        found += violations(value[name], properties[name], f"{place}.{name}")
    return found


def _is_of(value: object, types: str | list[str]) -> bool:
    names = [types] if isinstance(types, str) else types
    if isinstance(value, bool):
        return "boolean" in names
    return any(isinstance(value, TYPES[name]) for name in names)
