"""Explicit trees: the part that is used, and what is refused with its place."""

from __future__ import annotations

import pytest

from nile.errors import PlanError
from nile.options import Limits
from nile.topology.hostsets import no_groups
from nile.topology.model import ROOT_ID, TreeMode
from nile.topology.plan import plan
from nile.topology.routes import Routes, parse_routes
from tests.topology.worlds import check

GROUPS = 'groups: {g: {hosts: "n[1-20]"}, inner: {hosts: "m[1-9]", via: "n[1-2]"}}\n'


def load(tree: str, more: str = "") -> Routes:
    return parse_routes(f"version: 1\n{GROUPS}{more}tree: {tree}\n", "f.yaml", no_groups)


def test_the_whole_tree() -> None:
    routes = load('[n9, {n1: ["n[3-4]", {m1: "m[2-3]"}]}, {n2: []}]')
    asked = tuple(name for name in routes.hosts if name in {"n1", "n2", "n3", "n4", "n9", "m1", "m2", "m3"})
    tree = plan(routes, asked)
    check(tree, routes, asked)
    assert [tree.node(one).host for one in tree.children(ROOT_ID)] == ["n9", "n1", "n2"]
    assert tree.path(next(node.id for node in tree.nodes if node.host == "m3")) == ("root", "n1", "m1", "m3")


def test_only_the_part_that_is_needed() -> None:
    tree = plan(load('{n1: ["n[3-9]", {m1: "m[2-9]"}], n2: "n[10-20]"}'), ("m4", "m2"))
    assert [(node.host, node.asked, node.stage) for node in tree.nodes] == [
        ("n1", False, 1),
        ("m1", False, 2),
        ("m2", True, 3),
        ("m4", True, 3),
    ]


@pytest.mark.parametrize(
    ("tree", "asked", "where", "message", "remedy"),
    [
        ("{n1: n3}", "n1,n4,n5", None, "n[4-5]: asked for, but not in the explicit tree", "--tree auto"),
        ("{n1: {n3: {n4: n5}}}", "n5", "3:22", "n5 stands at stage 4; limits.stages is 3", "--stages 4"),
        ('{n1: ["n[3-8]"]}', "n[3-8]", "3:13", "n1 has 6 children; limits.branches is 5", "--branches 6"),
        ('["n[3-8]"]', "n[3-8]", "3:8", "root has 6 children; limits.branches is 5", "--branches 6"),
        (
            "{n3: m1}",
            "m1",
            "3:12",
            "m1 is reachable only through n[1-2], and stands below n3",
            "below one of",
        ),
        ("[m1]", "m1", "3:8", "m1 is reachable only through n[1-2], and stands below the root", "`via`"),
        (
            "{m1: n1}",
            "n1,m1",
            "3:8",
            "gateway n1 stands below m1, which is reachable only through n[1-2]",
            "`via`",
        ),
        ("{n1: {m1: {m2: n2}}}", "n2", None, "", ""),
    ],
)
def test_what_is_refused(tree: str, asked: str, where: str | None, message: str, remedy: str) -> None:
    routes = load(tree).override(limits=Limits(branches=5))
    hosts = routes.host_sets().expand(asked)
    if not message:
        limits = Limits(branches=5, stages=4)
        assert plan(routes.override(limits=limits), hosts).path(4) == ("root", "n1", "m1", "m2", "n2")
        return
    with pytest.raises(PlanError) as caught:
        plan(routes, hosts)
    assert message in caught.value.message
    assert remedy in str(caught.value.remedy)
    assert caught.value.where == (f"f.yaml:{where}" if where else None)


def test_limits_bind_the_used_part_only() -> None:
    routes = load('{n1: ["n[3-8]"]}').override(limits=Limits(branches=5))
    assert len(plan(routes, ("n3", "n4")).nodes) == 3


def test_a_host_that_may_not_relay_has_nobody_below_it() -> None:
    routes = load("{n5: n6}", "hosts: {n5: {relay: no}}\n")
    with pytest.raises(PlanError, match=r"f.yaml:4:8: n5 has hosts below it, but is `relay: no`"):
        plan(routes, ("n6",))
    assert len(plan(routes, ("n5",)).nodes) == 1


def test_the_command_line_can_leave_the_drawing_aside() -> None:
    routes = load("{n1: n3}").override(tree=TreeMode.AUTO)
    assert len(plan(routes, ("n7", "n8")).children(ROOT_ID)) == 2
