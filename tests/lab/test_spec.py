"""The options of a lab: what they mean, and which are refused."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from nile.errors import LabError
from nile.lab import BackendName, LabSpec
from nile.lab.links import mac, shape
from nile.lab.login import lab_user
from nile.lab.spec import assign_pythons, bits_per_second, host_set, python_groups

NETNS = BackendName.NETNS


def test_names_are_as_wide_as_the_number_of_hosts_needs() -> None:
    assert LabSpec(hosts=2).names == ("h001", "h002")
    assert LabSpec(hosts=1000).names[-1] == "h1000"
    assert LabSpec(hosts=1000).names[0] == "h0001"


def test_racks_are_even_blocks_that_hold_every_host_once() -> None:
    spec = LabSpec(hosts=10, switches=3)
    racks = spec.racks()
    assert [len(names) for names in racks.values()] == [3, 4, 3]
    assert [name for names in racks.values() for name in names] == list(spec.names)


def test_a_spec_survives_its_file() -> None:
    spec = LabSpec(hosts=3, backend=NETNS, rate="1gbit", python={"3.6": "/p"}, delay_login_s=0.5)
    assert LabSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


@pytest.mark.parametrize(
    ("options", "place"),
    [
        ({"hosts": 0}, "--hosts"),
        ({"hosts": 5000}, "--hosts"),
        ({"switches": 13}, "--switches"),
        ({"switches": 0}, "--switches"),
        ({"hosts": 2000, "backend": NETNS}, "--switches"),
        ({"port": 70000}, "--port"),
        ({"network": "10.1"}, "--network"),
        ({"network": "127.300"}, "--network"),
        ({"rate": "200mbit"}, "--rate"),
        ({"uplink": "200mbit"}, "--uplink"),
        ({"python": {"3.6": "/p"}}, "--python"),
        ({"no_python": "h001"}, "--no-python"),
        ({"max_startups": "10:30:100"}, "--max-startups"),
        ({"max_startups": "many", "backend": NETNS}, "--max-startups"),
        ({"rate": "fast", "backend": NETNS}, "--rate"),
        ({"uplink": "0mbit", "backend": NETNS}, "--uplink"),
        ({"delay_login_s": -1.0}, "--delay-login"),
        ({"boot_s": 4000.0}, "--boot-time"),
    ],
)
def test_what_cannot_be_built_is_refused_with_the_option_named(options: dict[str, Any], place: str) -> None:
    with pytest.raises(LabError) as caught:
        LabSpec(**options).check()
    assert caught.value.where == place


def test_host_sets_name_hosts_of_the_lab_only() -> None:
    names = LabSpec(hosts=5).names
    assert host_set("h[002-003],h005", names, "crash") == ("h002", "h003", "h005")
    for wrong in ("h009", "", "h[001-", "@nobody"):
        with pytest.raises(LabError) as caught:
            host_set(wrong, names, "crash")
        assert caught.value.where == "crash"


def test_version_labels_are_dealt_over_the_hosts_that_no_set_names() -> None:
    spec = LabSpec(
        hosts=6,
        backend=NETNS,
        python={"3.6": "/p36", "3.13": "/p313", "h002": "/special"},
        no_python="h001",
    )
    assert assign_pythons(spec) == {
        "h002": "/special",
        "h003": "/p36",
        "h004": "/p313",
        "h005": "/p36",
        "h006": "/p313",
    }
    assert python_groups(spec) == {
        "python3.6": ("h003", "h005"),
        "python3.13": ("h004", "h006"),
        "no-python": ("h001",),
    }


def test_rates_are_bits_per_second() -> None:
    assert bits_per_second("200mbit", "x") == 200_000_000
    assert bits_per_second("1.5Gbit", "x") == 1_500_000_000
    assert "rate 500000bit" in shape("p", "500kbit")


def test_a_mac_follows_from_the_address() -> None:
    assert mac("10.77.1.2") == "02:00:0a:4d:01:02"


def test_a_user_whom_the_machine_does_not_know_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 3_999_999_999)
    with pytest.raises(LabError, match="no user"):
        lab_user()
