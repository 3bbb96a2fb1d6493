"""What is made ready before a run begins: from then on nothing may keep its loop from its work."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path

import pytest

from nile.agent.handshake import Bundle
from nile.bootstrap import bundle, kept
from nile.cascade import Secret
from nile.controller import prepare
from nile.errors import SshConfigError
from nile.options import ExecOptions, SshClient, SshOptions
from nile.topology.model import HostSpec, PlanNode
from nile.transport.base import PASSWORD
from nile.transport.passwords import Entitled, Passwords
from tests.controller.test_signatures import login
from tests.simulation.trees import tree


def test_the_agent_is_packed_before_the_run_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    plan = tree([0, 1])
    hosts = [node.host for node in plan.nodes]
    logins = {name: login(name) for name in hosts}
    module = importlib.import_module("nile.controller.prepare")
    monkeypatch.setattr(module, "resolve_logins", lambda *_, **__: logins)
    whole, made = kept.agent_bundle(), list[str]()

    def make() -> Bundle:
        made.append("again")
        return whole

    def made_of(what: str) -> Callable[[], dict[str, bytes]]:
        return lambda: made.append(what) or {what: b""}  # type: ignore[func-returns-value]

    monkeypatch.setattr(kept, "agent_bundle", make)
    monkeypatch.setattr(kept, "carrier_code", made_of("carrier"))
    monkeypatch.setattr(bundle, "shell_code", made_of("shell"))
    for run in ("first", "second"):
        engine = prepare(run, plan, hosts, ExecOptions("hostname"), lambda _: None, None)
        engine._loop.close()
        assert sorted(made) == ["again", "carrier", "shell"], "the second run finds them"
    options = engine._options
    assert options.cascade.shell_code is not None
    assert (options.carrier_code(), options.cascade.shell_code()) == ({"carrier": b""}, {"shell": b""})
    assert len(made) == 3, "none of it in the loop"


def test_the_password_is_for_whom_the_plan_has_the_root_log_in_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However the tree heals later: what the user was told before typing it holds."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    plan = tree([0, 1, 0, 0, 0])
    below, byssh, kept_from, user = "h0002", "h0003", "h0004", "h0005"
    spares = tuple(
        PlanNode(number, name, 0, 0, asked=False) for number, name in ((6, "spare"), (7, "inner spare"))
    )
    specs = {
        **plan.specs,
        "spare": HostSpec("spare", "a", "a"),
        "inner spare": HostSpec("inner spare", "b", "b", via=("spare",)),
    }
    logins = {name: replace(login(name), user="ada", password_methods=(PASSWORD,)) for name in specs}
    logins[byssh] = replace(logins[byssh], client=SshClient.OPENSSH)
    logins[kept_from] = replace(logins[kept_from], password_methods=())
    logins[user] = replace(logins[user], user="bob")
    plan = replace(plan, spares=spares, specs=specs)
    module = importlib.import_module("nile.controller.prepare")
    monkeypatch.setattr(module, "resolve_logins", lambda *_, **__: logins)
    asked, notices = list[Collection[Entitled]](), list[str]()

    def password(entitled: Collection[Entitled]) -> Passwords:
        asked.append(entitled)
        return Passwords(Secret("s3cret"), ())

    options = ExecOptions("hostname")
    hosts = [node.host for node in plan.nodes]
    engine = prepare("run", plan, hosts, options, lambda _: None, None, notices=notices, password=password)
    engine._loop.close()
    assert asked == [{("h0001", "ada"), (user, "bob"), ("spare", "ada")}]
    assert below not in str(notices)
    assert notices[0].startswith(f"no password is given to {byssh} and 1 more")


@pytest.mark.parametrize(("parents", "where"), [([0, 1], "ssh delegate of h0002"), ([0, 0], None)])
def test_a_ticket_for_a_host_below_a_relay_that_would_give_none(
    parents: list[int], where: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where GSSAPI is on in ssh_config only, which counts for logins of the root alone."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    ssh, plan = SshOptions(client=SshClient.OPENSSH, delegate=True), tree(parents)
    plan = replace(plan, specs={name: replace(spec, ssh=ssh) for name, spec in plan.specs.items()})
    logins = {name: login(name) for name in plan.specs}
    module = importlib.import_module("nile.controller.prepare")
    monkeypatch.setattr(module, "resolve_logins", lambda *_, **__: logins)
    if where is None:
        prepare("run", plan, list(logins), ExecOptions("hostname"), lambda _: None, None)._loop.close()
        return
    with pytest.raises(SshConfigError, match="a relay logs in to it") as caught:
        prepare("run", plan, list(logins), ExecOptions("hostname"), lambda _: None, None)
    assert caught.value.where == where
    on = replace(ssh, options={"GSSAPIAuthentication": "yes"})
    plan = replace(plan, specs={name: replace(spec, ssh=on) for name, spec in plan.specs.items()})
    prepare("run", plan, list(logins), ExecOptions("hostname"), lambda _: None, None)._loop.close()
