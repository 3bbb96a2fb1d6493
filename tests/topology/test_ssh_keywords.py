"""ssh_config keywords: spelling, and what Nile refuses."""

from __future__ import annotations

import subprocess

import pytest

from nile.topology.refusal import Refusal
from nile.topology.ssh_keywords import KEYWORDS, OWN_SETTING, canonical, check_option


@pytest.mark.parametrize(
    ("written", "keyword"),
    [
        ("compression", "Compression"),
        ("IPQOS", "IPQoS"),
        ("PubkeyAcceptedKeyTypes", "PubkeyAcceptedAlgorithms"),
    ],
)
def test_spelling(written: str, keyword: str) -> None:
    assert canonical(written) == keyword


def test_unknown_keywords_suggest_a_near_one() -> None:
    with pytest.raises(Refusal) as caught:
        canonical("ServerAliveIntervall")
    assert caught.value.remedy == "did you mean ServerAliveInterval?"


@pytest.mark.parametrize(
    ("keyword", "value", "reason"),
    [
        ("StrictHostKeyChecking", "no", "strictly"),
        ("StrictHostKeyChecking", "accept-new", "strictly"),
        ("UserKnownHostsFile", "none", "strictly"),
        ("UserKnownHostsFile", "/dev/null", "strictly"),
        ("NoHostAuthenticationForLocalhost", "yes", "strictly"),
        ("VerifyHostKeyDNS", "yes", "strictly"),
        ("RemoteCommand", "uptime", "link"),
        ("RequestTTY", "force", "link"),
        ("SessionType", "none", "link"),
        ("StdinNull", "yes", "link"),
        ("ForkAfterAuthentication", "yes", "link"),
        ("ForwardAgent", "yes", "keys stay at the root"),
        ("ForwardX11", "yes", "forwards nothing"),
        ("LocalForward", "1 h:2", "forwards nothing"),
        ("Tunnel", "yes", "forwards nothing"),
        ("ControlMaster", "auto", "outlive"),
        ("ControlPath", "/tmp/x", "outlive"),
        ("ControlPersist", "10m", "outlive"),
        ("PermitLocalCommand", "yes", "run a program"),
        ("BatchMode", "no", "never prompts"),
        ("PasswordAuthentication", "yes", "--ask-pass"),
        ("GSSAPIDelegateCredentials", "yes", "delegate: yes"),
        ("GSSAPIKeyExchange", "yes", "strictly"),
        ("LogLevel", "QUIET", "what ssh says"),
        ("Match", "all", "configuration file"),
        ("Include", "x", "configuration file"),
        ("Compression", "", "no usable value"),
        ("Compression", "yes\nProxyCommand x", "no usable value"),
    ],
)
def test_what_weakens_or_fights_nile_is_refused(keyword: str, value: str, reason: str) -> None:
    with pytest.raises(Refusal) as caught:
        check_option(keyword, value)
    assert reason in caught.value.message


@pytest.mark.parametrize("keyword", OWN_SETTING)
def test_what_has_a_setting_of_its_own_names_it(keyword: str) -> None:
    with pytest.raises(Refusal, match="setting of its own"):
        check_option(keyword, "x")


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("StrictHostKeyChecking", "yes"),
        ("ForwardAgent", "No"),
        ("ControlMaster", "no"),
        ("UserKnownHostsFile", "~/.ssh/farm_hosts"),
        ("ServerAliveInterval", "5"),
        ("ProxyJump", "bastion"),
        ("Ciphers", "aes128-gcm@openssh.com"),
    ],
)
def test_what_does_no_harm_is_taken(keyword: str, value: str) -> None:
    check_option(keyword, value)


def test_the_list_has_every_keyword_that_ssh_itself_prints() -> None:
    run = subprocess.run(["ssh", "-F", "none", "-G", "host"], capture_output=True, text=True, check=True)
    printed = {line.split()[0].lower() for line in run.stdout.splitlines()} - {"host"}
    assert len(printed) > 50
    assert printed - {keyword.lower() for keyword in KEYWORDS} == set()
