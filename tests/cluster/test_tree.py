"""A command reaches every host once, over trees of real ssh logins."""

from __future__ import annotations

import re

import pytest

from nile.lab import Lab
from tests.cluster.hosts import root_of
from tests.cluster.running import Done, Nile

pytestmark = pytest.mark.cluster

TELL = (
    'echo "$NILE_HOST $NILE_STAGE $NILE_PARENT $NILE_RANK $NILE_COUNT $NILE_RUN $(hostname)"; echo x >> ~/ran'
)


def ran(lab: Lab) -> dict[str, int]:
    """Host -> how often its command ran since the last look, for those where it did."""
    found = {}
    for host in lab.names:
        path = root_of(lab, host) / "root/ran"
        if path.exists():
            found[host] = len(path.read_text().splitlines())
            path.unlink()
    return found


def check_told(done: Done, hosts: list[str]) -> None:
    """What the hosts said of themselves is what the results say."""
    for host in hosts:
        result = done.results[host]
        path = result["path"]
        assert (path[0], path[-1], len(path)) == ("root", host, result["stage"] + 1)
        run, count = done.events[0]["run"], len(hosts)
        want = f"{host} {result['stage']} {path[-2]} {hosts.index(host)} {count} {run} {host}\n"
        assert result["stdout"] == want
        assert 0 <= result["t_connect_s"] <= result["t_ready_s"] <= result["t_end_s"]


@pytest.mark.parametrize(("branches", "stages"), [(6, 2), (4, 3), (2, 5)])
def test_every_host_runs_the_command_once(nile: Nile, fleet: Lab, branches: int, stages: int) -> None:
    done = nile.json("-a", "--branches", str(branches), "--stages", str(stages), "--", TELL).all_ok()
    assert ran(fleet) == dict.fromkeys(fleet.names, 1)
    check_told(done, list(fleet.names))
    assert {result["stage"] for result in done.results.values()} == set(range(1, stages + 1))


def test_the_root_may_use_openssh(nile: Nile, fleet: Lab) -> None:
    other = nile.with_routes(ssh={"client": "openssh"})
    check_told(other.json("-a", "--branches", "6", "--", TELL).all_ok(), list(fleet.names))
    assert ran(fleet) == dict.fromkeys(fleet.names, 1)


def test_flat(nile: Nile, fleet: Lab) -> None:
    done = nile.json("-a", "--tree", "flat", "--", TELL).all_ok()
    assert ran(fleet) == dict.fromkeys(fleet.names, 1)
    check_told(done, list(fleet.names))
    assert {result["stage"] for result in done.results.values()} == {1}


def test_a_gateway_that_was_not_asked_only_relays(nile: Nile, fleet: Lab) -> None:
    behind = {"hosts": "h[003-012]", "via": "h[001-002]"}
    gated = nile.with_routes(groups={"behind": behind})
    done = gated.json("-g", "behind", "--", TELL).all_ok()
    hosts = [f"h{number:03}" for number in range(3, 13)]
    assert ran(fleet) == dict.fromkeys(hosts, 1)
    check_told(done, hosts)
    assert {result["path"][1] for result in done.results.values()} <= {"h001", "h002"}
    assert not {"h001", "h002"} & {event.get("host") for event in done.events}
    shown = gated.exec("-w", "h003", "--", "hostname")
    assert (shown.code, shown.out) == (0, "h003: h003\n")
    assert "1 of 1 host ok" in shown.err
    assert re.search(r"^relays: h00[12] \(1\), not asked for: they run no command$", shown.err, re.MULTILINE)


def test_only_one_gateway_of_two_is_needed(nile: Nile, fleet: Lab) -> None:
    gated = nile.with_routes(groups={"behind": {"hosts": "h[003-004]", "via": "h001"}})
    fleet.crash("h002")
    gated.json("-g", "behind", "--", "true").all_ok()


def test_an_explicit_tree_is_followed(nile: Nile, fleet: Lab) -> None:
    tree = {"h001": ["h[002-003]", {"h004": {"h005": "h[006-007]"}}], "h008": "h009"}
    drawn = nile.with_routes(tree=tree, limits={"stages": 4})
    done = drawn.json("-w", "h[001-009]", "--", TELL).all_ok()
    assert ran(fleet) == {f"h{number:03}": 1 for number in range(1, 10)}
    assert {host: "/".join(result["path"]) for host, result in done.results.items()} == {
        "h001": "root/h001",
        "h002": "root/h001/h002",
        "h003": "root/h001/h003",
        "h004": "root/h001/h004",
        "h005": "root/h001/h004/h005",
        "h006": "root/h001/h004/h005/h006",
        "h007": "root/h001/h004/h005/h007",
        "h008": "root/h008",
        "h009": "root/h008/h009",
    }


def test_hosts_that_a_drawn_tree_lacks_are_an_error(nile: Nile, fleet: Lab) -> None:
    drawn = nile.with_routes(tree={"h001": "h[002-003]"})
    done = drawn.exec("-w", "h[002-004]", "--", "echo x >> ~/ran")
    assert done.code == 2
    assert "h004" in done.err
    assert ran(fleet) == {}


def test_no_route_file_is_needed(nile: Nile, fleet: Lab) -> None:
    """Names resolve as the root machine resolves them; key and host keys may come with -o."""
    options = ("-o", f"IdentityFile={fleet.key_file}", "-o", f"UserKnownHostsFile={fleet.known_hosts_file}")
    hosts = ("-w", "h[001-006,010]", "-x", "h003", "--branches", "2")
    done = nile.command("exec", *options, *hosts, "--", "hostname", NILE_ROUTES="")
    assert done.code == 0, done.err
    assert sorted(done.lines()) == [f"h{n:03}: h{n:03}" for n in (1, 2, 4, 5, 6, 10)]
    assert done.err.startswith("routes: no file, defaults in use\n")


def test_the_scratch_is_private_in_memory_and_gone_afterwards(nile: Nile, fleet: Lab) -> None:
    command = 'echo "$NILE_SCRATCH"; cd "$NILE_SCRATCH"; stat -c %a .; echo x > x; mkdir d; ls'
    done = nile.json("-w", "h[001-003]", "--branches", "1", "--stages", "3", "--", command).all_ok()
    run = done.events[0]["run"]
    for host in done.results:
        place, mode, *inside = done.stdout_of(host).split()
        assert re.fullmatch(rf"/dev/shm/nile-0-{run}-{host}/scratch", place)
        assert (mode, inside) == ("700", ["d", "x"])
