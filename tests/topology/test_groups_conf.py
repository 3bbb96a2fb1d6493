"""Groups of ClusterShell's groups.conf."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from nile.topology import groups_conf
from nile.topology.groups_conf import system_groups
from nile.topology.hostsets import HostSetError, HostSets

CONF = """\
[Main]
default: local
[local]
map: sed -n 's/^$GROUP: //p' $CFGDIR/groups.txt
all: echo all[1-2]
list: sed 's/:.*//' $CFGDIR/groups.txt
[broken]
map: exit 3
[plain]
map: echo p[1-2]
list: echo one
"""


@pytest.fixture(autouse=True)
def configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A groups.conf of its own."""
    (tmp_path / "groups.conf").write_text(CONF)
    (tmp_path / "groups.txt").write_text("rack1: n[1-2]\nboth: @rack1,m1\n")
    monkeypatch.setattr(groups_conf, "config_paths", lambda name: [str(tmp_path / name)])
    groups_conf._resolver.cache_clear()
    yield
    groups_conf._resolver.cache_clear()


SETS = HostSets(source=system_groups)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("@rack1", ["n1", "n2"]),
        ("@local:both", ["n1", "n2", "m1"]),
        ("@plain:x!p1", ["p2"]),
        ("@local:*", ["all1", "all2"]),
        ("@plain:*", ["p1", "p2"]),
    ],
)
def test_found(text: str, names: list[str]) -> None:
    assert list(SETS.expand(text)) == names


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("@nothing", "group @nothing is unknown"),
        ("@local:nothing", "group @local:nothing is unknown"),
        ("@elsewhere:x", "unknown source 'elsewhere'"),
        ("@broken:x", "can't be looked up"),
    ],
)
def test_not_found(text: str, message: str) -> None:
    with pytest.raises(HostSetError, match=message):
        SETS.expand(text)


@pytest.mark.parametrize(
    "text",
    [
        "@x'$(touch MARK)'",
        "@plain:x;touch MARK",
        "@plain:`touch MARK`",
        "@$(touch MARK):x",
        "@plain:-x",
        "@x*|y",
    ],
)
def test_no_shell_gets_more_than_a_word(text: str, tmp_path: Path) -> None:
    """ClusterShell puts a group's name into a line of the shell as it is."""
    mark = tmp_path / "mark"
    with pytest.raises(HostSetError, match="can't be looked up as a group"):
        SETS.expand(text.replace("MARK", str(mark)))
    assert not mark.exists()


def test_without_a_configuration_a_group_is_just_unknown(tmp_path: Path) -> None:
    (tmp_path / "groups.conf").unlink()
    with pytest.raises(HostSetError, match="group @rack1 is unknown"):
        SETS.expand("@rack1")


def test_a_broken_configuration_is_named(tmp_path: Path) -> None:
    (tmp_path / "groups.conf").write_text("nonsense\n")
    with pytest.raises(HostSetError, match="can't be looked up"):
        SETS.expand("@rack1")


def test_the_hosts_of_a_slurm_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    with pytest.raises(HostSetError, match="there is no Slurm job here"):
        SETS.expand("@slurm:job")
    monkeypatch.setenv("SLURM_JOB_NODELIST", "tux[1-3,7],login")
    assert SETS.expand("@slurm:job") == ("tux1", "tux2", "tux3", "tux7", "login")
    with pytest.raises(HostSetError, match="group @slurm:debug is unknown"):
        SETS.expand("@slurm:debug")


def test_slurm_itself_is_asked_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_NODELIST", "odd[syntax")
    program = tmp_path / "scontrol"
    program.write_text(
        '#!/bin/sh\n[ "$*" = "show hostnames" ] && printf "%s\\n" a1 a2 "${SLURM_JOB_NODELIST%%[*}"\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert SETS.expand("@slurm:job!a1") == ("a2", "odd")
    program.write_text("#!/bin/sh\nexit 1\n")
    with pytest.raises(HostSetError, match="`scontrol show hostnames` failed"):
        SETS.expand("@slurm:job")
