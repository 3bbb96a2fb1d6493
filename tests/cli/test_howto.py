"""The how-to pages of commands are true: what their examples of a lab show is among what is said there.

In which order hosts speak isn't the page's business, nor how long it takes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from nile.lab import Lab
from tests.cluster.pages import DOCS, Example, Reader, examples
from tests.cluster.running import Nile

pytestmark = pytest.mark.lab

_FILE = re.compile(r"^```yaml\n# (\S+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.fixture
def reader(loopback_lab: Lab, tmp_path: Path) -> Reader:
    """In a directory of its own, where `-r lab` is that lab."""
    nile = Nile(loopback_lab, tmp_path)
    (tmp_path / "nile/lab/lab").mkdir(parents=True)
    (tmp_path / "nile/lab/lab/routes.yaml").symlink_to(nile.routes)
    return Reader(loopback_lab, tmp_path, nile.environment({"HOME": str(tmp_path)}))


def of_the_lab(page: str, here: Path) -> Iterator[Example]:
    """The examples that say what is shown; the files that the page shows are here before."""
    for name, text in _FILE.findall((DOCS / page).read_text()):
        (here / name).write_text(text)
    for example in examples(page):
        if example.command.startswith("cat "):
            (here / example.command.split()[1]).write_text("\n".join([*example.shown, ""]))
        elif "-r lab" in example.command and example.shown and "./update" not in example.command:
            yield example  # ./update is the reader's own, and asked about at a terminal


@pytest.mark.parametrize("page", ["howto/exec.md", "howto/scripts.md", "howto/control.md"])
def test_the_page(page: str, reader: Reader, tmp_path: Path) -> None:
    found = list(of_the_lab(page, tmp_path))
    assert found
    assert "\n".join(filter(None, (reader.follow(example, loosely=True) for example in found))) == ""
