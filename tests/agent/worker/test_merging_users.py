"""A tree, merged into what a host has already: for users, for owners, and by old Pythons and new ones."""

from __future__ import annotations

import marshal
import os
import stat
import subprocess
import tempfile
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nile.agent.worker import receiving
from nile.agent.worker.compare import lacking
from nile.agent.worker.dressing import Terms
from nile.agent.worker.merging import Merge
from nile.agent.worker.patterns import Patterns
from nile.agent.worker.trees import Source
from nile.bootstrap.program import MODULES, _stripped
from tests.agent.parent import BY_AGE
from tests.agent.worker.conftest import NOBODY, as_nobody
from tests.agent.worker.copying import NAME
from tests.agent.worker.merging import bare, bring, download, here, merged
from tests.agent.worker.test_archive import plant
from tests.agent.worker.test_merging import RIGHTS, attributes_of, everything, pairs, rsync
from tests.agent.worker.trees import make_all_kinds, write
from tests.agent.worker.unpacking import read, same, well

# Users


@settings(max_examples=25)
@given(pairs(), st.booleans())
def test_it_is_what_the_rsync_of_a_user_makes(pair: tuple[list[Any], list[Any]], delete: bool) -> None:
    """Whose rsync has to be able to read it all, and deletes nothing from what is closed to himself."""
    source_tree, host_tree = (
        [
            (where, name, (kind, value, mode if mode is None else mode | least), mtime_ns, NOBODY)
            for where, name, (kind, value, mode), mtime_ns, _ in each
        ]
        for each, least in zip(pair, (0o500, 0o700), strict=True)
    )
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        place.chmod(0o755)
        plant(os.fsencode(place / "src"), source_tree)
        for host in ("ours", "theirs"):
            plant(os.fsencode(place / host), host_tree)
            os.chown(place / host, NOBODY, NOBODY)
        source = Source([os.fsencode(place / "src") + b"/"], Patterns())
        source.read(checksum=False)

        def check() -> None:
            status = rsync(source.paths[0], place / "theirs", *["--delete-delay"] * delete)
            ending, _ = bring(source, place / "ours", delete)
            assert (ending.code, status) in (("", 0), ("partial", 23)), (ending.fields(), status)
            assert everything(place / "ours", source) == everything(place / "theirs", source)

        as_nobody(check)


def test_a_user_gets_what_a_user_may_have(open_path: Path) -> None:
    """No devices, no owners, no attributes but his own; and what is closed to himself is no hindrance."""
    make_all_kinds(open_path / "src")
    for name in ("user.colour", "trusted.colour"):
        os.setxattr(open_path / "src/dir/file", name, b"blue")
    for path in ("dir", "dir/below", "dir/file"):
        os.chown(open_path / "src" / path, NOBODY, NOBODY)
    (open_path / "src/dir/file").chmod(0o400)
    (open_path / "src/dir").chmod(0o500)
    source = read(f"{open_path}/src/")
    (open_path / "dest").mkdir()
    os.chown(open_path / "dest", NOBODY, NOBODY)

    def check() -> None:
        well(bring(source, open_path / "dest")[0])
        there = open_path / "dest"
        assert not (there / "null").exists()
        assert attributes_of(os.fsencode(there / "dir/file")) == {"user.colour": b"blue"}
        (there / "dir/file").chmod(0o600)
        os.setxattr(there / "dir/file", "user.own", b"1")
        for path in ("dir/file", "dir/below", "dir"):
            (there / path).chmod(0o000)
        merge = Merge(
            os.fsencode(there), NAME, download(source, [], there), extras=[b"dir/below/x", b"plain"]
        )
        ending, done = merged(bare(source), merge)
        well(ending)
        assert done.deleted == 0, "it is the source's"
        assert stat.S_IMODE((there / "dir").stat().st_mode) == 0o500
        assert attributes_of(os.fsencode(there / "dir/file")) == {"user.colour": b"blue"}

    as_nobody(check)


def test_what_is_another_users_fails_and_modes_are_put_back(open_path: Path) -> None:
    write(open_path, "src/dir/file", "new")
    write(open_path, "src/other/file", "1")
    source = read(f"{open_path}/src/")
    for path in ("dest", "dest/dir", "dest/other"):
        (open_path / path).mkdir()
        os.chown(open_path / path, NOBODY, NOBODY)
    os.chown(open_path / "dest/other", 0, 0)
    (open_path / "dest/dir").chmod(0o500)

    def check() -> None:
        ending, _ = bring(source, open_path / "dest")
        assert ending.code == "not-writable"
        assert stat.S_IMODE((open_path / "dest/dir").stat().st_mode) == 0o500

    as_nobody(check)


@pytest.mark.parametrize(
    ("words", "terms"),
    [
        ([], Terms()),
        (["--chown=3:4"], Terms(chown="3:4")),
        (["--chown=:sys", "--numeric-ids"], Terms(True, ":sys")),
    ],
)
def test_owners_are_those_that_were_asked_for(tmp_path: Path, words: list[str], terms: Terms) -> None:
    for place in ("src", "ours", "theirs"):
        for number in (0, 1, 54321):
            path = write(tmp_path, f"{place}/{number}", "x")
            os.chown(path, number, number)
            os.utime(path, ns=(1, 1))
            os.setxattr(path, "system.posix_acl_access", RIGHTS)
        write(tmp_path, "src/new")
    well(bring(read(f"{tmp_path}/src/"), tmp_path / "ours", terms=terms)[0])
    assert rsync(os.fsencode(tmp_path) + b"/src/", tmp_path / "theirs", *words) == 0
    assert everything(tmp_path / "ours") == everything(tmp_path / "theirs")


# Pythons

SCRIPT = """
import os
from nile.agent.worker import merging
from nile.agent.worker.dressing import Terms
done = merging.merge(0, merging.Merge(*map(os.fsencode, sys.argv[1:4])), Terms())
assert done.taken > 5, done
"""


@pytest.mark.parametrize("python", [BY_AGE[0], BY_AGE[-1]], ids=["oldest", "newest"])
def test_on_the_oldest_python_and_on_the_latest(tmp_path: Path, python: Path) -> None:
    make_all_kinds(tmp_path / "src")
    source = read(f"{tmp_path}/src/")
    sources = {"nile": "", "nile.agent": "", "nile.agent.worker": ""}
    sources |= {f"nile.agent.{module}": _stripped(module) for module in MODULES}
    part = zlib.compress(marshal.dumps(sources, 2))
    program = f"{_stripped('worker.begin')}\nsys.meta_path.insert(0, Finder([{part!r}]))\n{SCRIPT}"
    dest = tmp_path / "dest"
    write(dest, "dir/file", "older").chmod(0o400)
    (dest / "link").mkdir()
    (dest / "dir/below").symlink_to("/")
    receiving.prepare(os.fsencode(dest), NAME)
    downloads = download(source, lacking(source.manifest, here(dest, source)), dest)
    (tmp_path / "program").write_text(program)
    argv: list[str | Path] = [
        python,
        "-BIS",
        tmp_path / "program",
        dest,
        os.fsdecode(NAME),
        os.fsdecode(downloads),
    ]
    said = subprocess.run(
        [argv[0], "-BIS", *argv[1:]], input=bare(source), capture_output=True, timeout=30, check=False
    )
    assert said.returncode == 0, said.stderr
    receiving.remove(os.fsencode(dest), NAME)
    os.utime(dest, ns=(1, (tmp_path / "src").stat().st_mtime_ns))
    same(source, dest)
