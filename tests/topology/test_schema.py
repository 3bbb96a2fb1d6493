"""The published schema: up to date, and of one mind with the loader."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from nile.topology.document import ROUTE_FILE
from nile.topology.hostsets import no_groups
from nile.topology.kinds import Kind, MapOf, MappingOr, Record
from nile.topology.routes import examine
from nile.topology.schema import route_file_schema, schema_text

ROOT = Path(__file__).parents[2]
PUBLISHED = ROOT / "docs/reference/route-file.schema.json"
REFERENCE = ROOT / "docs/reference/route-file.md"
EXAMPLES = sorted((ROOT / "routes").glob("*.yaml"))

VALIDATOR: Any = importlib.import_module("jsonschema").Draft202012Validator


def test_the_published_schema_is_up_to_date() -> None:
    remedy = "run: python -m nile.topology.schema > docs/reference/route-file.schema.json"
    assert PUBLISHED.read_text() == schema_text(), remedy


def test_it_is_a_schema() -> None:
    VALIDATOR.check_schema(route_file_schema())


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_the_examples_keep_it(path: Path) -> None:
    VALIDATOR(route_file_schema()).validate(yaml.safe_load(path.read_text()))


@pytest.mark.parametrize(
    "text",
    [
        "grups: {}",
        "ssh: {port: 0}",
        "ssh: {client: putty}",
        "limits: {branches: none}",
        "timeouts: {connect: 10}",
        "timeouts: {connect: none}",
        "timeouts: {command: soon}",
        "groups: {a: 10}",
        "groups: {a: {}}",
        "groups: {a: {hosts: n1, relay: maybe}}",
        "hosts: {a: {addres: b}}",
        "hosts: {a: {address: {outside: b}}}",
        "tree: deep",
        "tree: {a: 1}",
        "tree: {a: [[b]]}",
        "peering: [a, b]",
        "peering: [[a]]",
        "peering: [[a, a]]",
    ],
)
def test_what_the_schema_refuses_the_loader_refuses_too(text: str) -> None:
    text = f"version: 1\n{text}\n"
    assert not VALIDATOR(route_file_schema()).is_valid(yaml.safe_load(text))
    assert examine(text, "f.yaml", no_groups)[1]


@pytest.mark.parametrize(
    "text",
    [
        "limits: {logins: none}",
        "timeouts: {command: none, connect: 1.5s}",
        "groups: {a: [n1, n2], b: {hosts: [n1], via: none, relay: no}}",
        "ssh: {options: {Compression: yes, ServerAliveInterval: 5}}",
        "tree: [a, {b: [c, {d: []}]}]",
        "groups: {a: {hosts: n1, site: x}, b: {hosts: n2, site: y}}\npeering: [[x, y]]",
    ],
)
def test_what_the_loader_takes_the_schema_takes_too(text: str) -> None:
    text = f"version: 1\n{text}\n"
    assert examine(text, "f.yaml", no_groups)[1] == []
    VALIDATOR(route_file_schema()).validate(yaml.safe_load(text))


def keys(kind: Kind[Any]) -> set[str]:
    """Every key that a route file can have, at any depth."""
    if isinstance(kind, Record):
        return {field.name for field in kind.fields}.union(*(keys(field.kind) for field in kind.fields))
    if isinstance(kind, MappingOr):
        return keys(kind.mapping)
    return keys(kind.value) if isinstance(kind, MapOf) else set()


def test_the_reference_and_the_full_example_have_every_key() -> None:
    known = keys(ROUTE_FILE)
    assert {"version", "branches", "inside", "host_key_alias", "via"} <= known
    reference = set(re.findall(r"`([a-z_]+)`", REFERENCE.read_text()))
    assert known - reference == set()
    example = set(re.findall(r"([a-z_]+):", (ROOT / "routes/everything.yaml").read_text()))
    assert known - example == set()
