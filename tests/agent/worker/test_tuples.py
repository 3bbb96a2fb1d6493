"""Named tuples of our own do what those of `typing` do, as far as they are used."""

from __future__ import annotations

import copy
import pickle
import subprocess
from pathlib import Path
from typing import Any

import pytest

from nile.agent.worker import tuples
from nile.agent.worker.manifest import Entry
from nile.agent.worker.target import Space
from tests.agent.parent import PYTHONS

HERE = Path(__file__).parents[3]


def test_they_are_made_by_place_and_by_name_and_have_what_is_left_out() -> None:
    by_place = Entry(b"p", b"f", 0o644, 1, 2, 3, 4)
    by_name = Entry(path=b"p", kind=b"f", mode=0o644, size=1, mtime_ns=2, uid=3, gid=4)
    assert by_place == by_name == (b"p", b"f", 0o644, 1, 2, 3, 4, b"", 0, b"", b"")
    assert (by_place.path, by_place.gid, by_place.digest) == (b"p", 4, b"")
    assert by_place._replace(gid=7).gid == 7
    assert Space(1, None)._asdict() == {"bytes": 1, "inodes": None}
    assert repr(Space(1, 2)) == "Space(bytes=1, inodes=2)"
    assert pickle.loads(pickle.dumps(by_place)) == copy.copy(by_place) == by_place
    assert type(copy.copy(by_place)) is Entry


@pytest.mark.parametrize(
    ("given", "named"), [((1, 2, 3), {}), ((1,), {}), ((1, 2), {"bytes": 1}), ((1, 2), {"more": 1})]
)
def test_what_is_no_field_or_lacks_is_refused(given: tuple[int, ...], named: dict[str, int]) -> None:
    made: Any = Space
    with pytest.raises(TypeError, match=r"Space (lacks|has the fields)"):
        made(*given, **named)


def test_from_python_3_14_on_a_class_says_its_fields_only_when_it_is_asked() -> None:
    own = {"__annotate_func__": lambda form: {"one": int, "other": str} if form == 1 else {}, "other": "x"}
    made = tuples._Making("Made", (tuples.NamedTuple,), own)
    assert made(1) == (1, "x")
    assert made(1, "y").other == "y"


@pytest.mark.parametrize("python", PYTHONS)
def test_every_python_makes_them(python: Path) -> None:
    code = f"import sys; sys.path.append({str(HERE)!r}); from nile.agent.worker.manifest import Terms; "
    code += "print(Terms(checksum=True)._replace(owner='none').owner, Terms().times, 'typing' in sys.modules)"
    done = subprocess.run([str(python), "-ISc", code], stdout=subprocess.PIPE, check=True, timeout=30)
    assert done.stdout.split() == [b"none", b"True", b"False"]
