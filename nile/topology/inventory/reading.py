"""Files to documents: which kind a file is, what it says, and what is wrong with it.

A file's kind is found by its name and its contents; `genders:FILE` and
`ansible:FILE` say it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from nile.errors import RouteFileError
from nile.topology.document import Document
from nile.topology.inventory.ansible_ini import read_ini
from nile.topology.inventory.ansible_yaml import read_yaml
from nile.topology.inventory.genders import read_genders
from nile.topology.inventory.merging import Merging, joined, over
from nile.topology.inventory.model import Inventory
from nile.topology.textfile import read_text
from nile.topology.yamltree import Invalid, Reader

GENDERS, ANSIBLE = "genders", "ansible"
_YAML_NAME = (".yaml", ".yml", ".json")
_YAML_LINE = re.compile(r"---|\{|[\w.-]+:\s*(#.*)?$")
_BESIDE = ("group_vars", "host_vars")


def add_inventories(
    document: Document, names: Sequence[str], reader: Reader
) -> tuple[Document, tuple[str, ...]]:
    """A route file's document over what inventories say, and what a user should know of these.

    A relative name is taken from where Nile was started. Errors go to the reader of the route file,
    and `Invalid` is raised.
    """
    found: Document | None = None
    remarks: list[str] = []
    for name in names:
        inventory = Reader(split_kind(name)[1])
        try:
            one = _read(name, inventory, remarks)
            found = one if found is None else joined(found, one)
        except RouteFileError as error:
            inventory.errors.append(error)
        except Invalid:
            pass
        reader.errors += inventory.errors
    if reader.errors:
        raise Invalid
    return (document if found is None else over(document, found)), tuple(remarks)


def split_kind(name: str) -> tuple[str, str]:
    """The kind that a name says ("" where it says none), and the file's name."""
    kind, colon, rest = name.partition(":")
    return (kind, rest) if colon and rest and kind in (GENDERS, ANSIBLE) else ("", name)


def _read(name: str, reader: Reader, remarks: list[str]) -> Document:
    kind, file = split_kind(name)
    path = Path(file)
    text = read_text(path, "an inventory")
    _check_static(path, text)
    inventory = _parser(kind, path, text)(text, reader)
    if not inventory.hosts and not reader.errors:
        raise RouteFileError(
            "the inventory names no hosts", where=file, remedy="see that it is the right file"
        )
    document = Merging(inventory, reader).document()
    remarks += [f"{file}: {remark}" for remark in inventory.remarks]
    if kind != GENDERS and (beside := [one for one in _BESIDE if (path.parent / one).is_dir()]):
        remarks.append(f"{file}: what stands in {' and '.join(beside)} isn't read")
    return document


def _check_static(path: Path, text: str) -> None:
    """A program that prints an inventory is not run."""
    if text.startswith("#!") and os.access(path, os.X_OK):
        raise RouteFileError(
            "this is a program, and Nile runs none to get an inventory",
            where=f"{path}:1:1",
            remedy="write what it prints to a file: "
            f"ansible-inventory -i {path} --list --yaml --output hosts.yaml",
        )


def _parser(kind: str, path: Path, text: str) -> Callable[[str, Reader], Inventory]:
    if kind == GENDERS or (not kind and (path.name == GENDERS or path.suffix == f".{GENDERS}")):
        return read_genders
    lines = (line.strip() for line in text.splitlines())
    first = next((line for line in lines if line and line[0] not in "#;"), "")
    return read_yaml if path.suffix in _YAML_NAME or _YAML_LINE.match(first) else read_ini
