"""The embedded ssh server, seen by independent clients: OpenSSH's, paramiko and asyncssh."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import asyncssh
import paramiko
import pytest

from nile.lab import Lab, procs
from tests.lab.helpers import end, eventually, ssh, start_ssh, state_of

pytestmark = pytest.mark.lab

LAB_ONLY = {"NILE_LAB", "NILE_LAB_HOST", "TMPDIR"}
SHELL_ONLY = {"PWD", "SHLVL", "_", "OLDPWD"}


@pytest.fixture
def paramiko_client(loopback_lab: Lab) -> Iterator[paramiko.SSHClient]:
    with paramiko.SSHClient() as client:
        client.load_host_keys(str(loopback_lab.known_hosts_file))
        client.connect(
            loopback_lab.addresses["h002"],
            loopback_lab.port,
            loopback_lab.user,
            key_filename=str(loopback_lab.key_file),
            allow_agent=False,
            look_for_keys=False,
        )
        yield client


@pytest.mark.parametrize("status", [0, 1, 3, 255])
def test_exit_status_arrives(loopback_lab: Lab, status: int) -> None:
    assert ssh(loopback_lab, "h001", f"exit {status}").returncode == status


def test_a_signal_is_told_as_a_signal(loopback_lab: Lab) -> None:
    async def run() -> asyncssh.SSHCompletedProcess:
        async with asyncssh.connect(
            loopback_lab.addresses["h001"],
            loopback_lab.port,
            username=loopback_lab.user,
            client_keys=[str(loopback_lab.key_file)],
            known_hosts=str(loopback_lab.known_hosts_file),
            config=[],
        ) as connection:
            return await connection.run("kill -TERM $$")

    done = asyncio.run(run())
    assert done.exit_signal is not None
    assert done.exit_signal[0] == "TERM"


def test_both_outputs_arrive_apart(paramiko_client: paramiko.SSHClient) -> None:
    _, out, err = paramiko_client.exec_command("echo to out; echo to err >&2; exit 4")
    assert (out.read(), err.read(), out.channel.recv_exit_status()) == (b"to out\n", b"to err\n", 4)


def test_environment_directory_and_session_are_those_of_a_login(loopback_lab: Lab) -> None:
    command = "env -0; echo; pwd; umask; ps -o sid= -p $$; echo $$; readlink /proc/$$/fd/[012]"
    done = ssh(loopback_lab, "h003", command)
    env_text, _, rest = done.stdout.decode().rpartition("\0\n")
    env = dict(pair.split("=", 1) for pair in env_text.split("\0"))
    home = str(loopback_lab.home("h003"))
    assert set(env) - SHELL_ONLY == LAB_ONLY | {
        *("HOME", "USER", "LOGNAME", "SHELL", "PATH", "MAIL", "SSH_CLIENT", "SSH_CONNECTION")
    }
    assert (env["HOME"], env["USER"], env["NILE_LAB_HOST"]) == (home, loopback_lab.user, "h003")
    address = loopback_lab.addresses["h003"]
    assert env["SSH_CONNECTION"].endswith(f" {address} {loopback_lab.port}")
    directory, umask, session, shell, *pipes = rest.split()
    assert (directory, umask) == (home, "0022")
    assert session == shell  # a session of its own
    assert len({pipe for pipe in pipes if pipe.startswith("pipe:")}) == 3


def test_only_locale_variables_are_taken_from_the_client(loopback_lab: Lab) -> None:
    options = ("-o", "SetEnv=LC_TEST=yes EVIL=1")
    printed = ssh(loopback_lab, "h001", "echo $LC_TEST/$EVIL", *options).stdout
    assert printed == b"yes/\n"


def test_much_data_flows_both_ways_at_once(loopback_lab: Lab) -> None:
    data = os.urandom(1 << 20) * 24
    done = ssh(loopback_lab, "h001", "cat", stdin=data)
    assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(data).digest()


def test_paramiko_moves_much_data_too(paramiko_client: paramiko.SSHClient) -> None:
    _, out, _ = paramiko_client.exec_command("head -c 8000000 /dev/zero")
    assert len(out.read()) == 8_000_000


def test_the_end_of_input_arrives(paramiko_client: paramiko.SSHClient) -> None:
    stdin, out, _ = paramiko_client.exec_command("cat; echo done")
    stdin.write(b"words ")
    stdin.channel.shutdown_write()
    assert out.read() == b"words done\n"


def test_a_command_that_reads_no_input_does_not_hang_its_client(loopback_lab: Lab) -> None:
    done = ssh(loopback_lab, "h001", "head -c 3; exit 5", stdin=b"abc" * 2_000_000)
    assert (done.stdout, done.returncode) == (b"abc", 5)


def test_a_command_may_close_its_outputs_and_go_on(loopback_lab: Lab) -> None:
    done = ssh(loopback_lab, "h001", "exec >&- 2>&-; cat > taken; exit 6", stdin=b"x" * 300_000)
    assert done.returncode == 6
    assert (loopback_lab.home("h001") / "taken").stat().st_size == 300_000


def test_a_client_that_does_not_read_stops_the_command(loopback_lab: Lab) -> None:
    client = start_ssh(loopback_lab, "h004", "exec yes")
    try:
        server = loopback_lab.pid("h004")
        eventually(lambda: _named(loopback_lab, "h004", "yes"), "the command runs")
        pid = _named(loopback_lab, "h004", "yes")[0]
        before: list[int] = []

        def stands_still() -> bool:
            before.append(_written(pid))
            return len(before) > 30 and before[-30] == before[-1]

        eventually(stands_still, "the command waits for its reader")
        assert _memory_kib(server) < 120_000
    finally:
        end(client)
    eventually(lambda: not _named(loopback_lab, "h004", "yes"), "SIGPIPE ends it")


def test_a_command_that_does_not_read_stops_its_client(loopback_lab: Lab) -> None:
    client = start_ssh(loopback_lab, "h006", "exec sleep 1000")
    try:
        assert client.stdin is not None
        os.set_blocking(client.stdin.fileno(), False)
        sent, lull = 0, 0
        while lull < 30:
            try:
                sent += os.write(client.stdin.fileno(), bytes(65536))
                lull = 0
            except BlockingIOError:
                lull += 1
                time.sleep(0.01)
            assert sent < 30_000_000
        assert sent > 100_000
    finally:
        end(client)
        procs.send(_named(loopback_lab, "h006", "sleep"), 9)


def test_a_lost_client_takes_the_pipes_and_leaves_the_command(loopback_lab: Lab) -> None:
    client = start_ssh(loopback_lab, "h005", "sleep 1000 <&- >&- 2>&- & echo $!; cat; exec sleep 1000")
    assert client.stdout is not None
    sleeper = int(client.stdout.readline())
    end(client)
    eventually(lambda: len(_named(loopback_lab, "h005", "sleep")) == 2, "cat saw the end of its input")
    assert sleeper in _named(loopback_lab, "h005", "sleep")
    procs.send(_named(loopback_lab, "h005", "sleep"), 9)
    eventually(lambda: not loopback_lab.processes("h005"), "the server reaps orphans")


def test_the_session_lasts_while_somebody_holds_its_output(loopback_lab: Lab) -> None:
    fifo = loopback_lab.home("h001") / "gate"
    os.mkfifo(fifo)
    client = start_ssh(loopback_lab, "h001", "(cat gate) & echo $$; exit 7")
    try:
        assert client.stdout is not None
        shell = int(client.stdout.readline())
        eventually(lambda: not state_of(shell), "the shell ended")
        assert client.poll() is None
        fifo.write_text("late")
        assert client.communicate(timeout=20)[0] == b"late"
        assert client.returncode == 7
    finally:
        end(client)
        fifo.unlink()


def test_only_the_lab_s_key_and_user_get_in(loopback_lab: Lab) -> None:
    address, port = loopback_lab.addresses["h001"], loopback_lab.port
    right = paramiko.Ed25519Key.from_private_key_file(str(loopback_lab.key_file))
    host_key = paramiko.Ed25519Key.from_private_key_file(
        str(loopback_lab.directory / "hosts" / "h001" / "host_key")
    )
    for user, key in ((loopback_lab.user, host_key), ("somebody", right)):
        with socket.create_connection((address, port)) as sock, paramiko.Transport(sock) as transport:
            transport.start_client()
            with pytest.raises(paramiko.AuthenticationException):
                transport.auth_publickey(user, key)
    with socket.create_connection((address, port)) as sock, paramiko.Transport(sock) as transport:
        transport.start_client()
        assert transport.get_remote_server_key() == host_key
        with pytest.raises(paramiko.BadAuthenticationType) as caught:
            transport.auth_password(loopback_lab.user, "password")
        assert caught.value.allowed_types == ["publickey"]


def test_cheap_algorithms_are_offered_first(loopback_lab: Lab) -> None:
    talk = ssh(loopback_lab, "h001", "true", "-o", "LogLevel=DEBUG2").stderr.decode()
    offers = talk.partition("peer server KEXINIT proposal")[2]
    assert "KEX algorithms: curve25519-sha256" in offers
    assert "ciphers stoc: aes128-gcm@openssh.com" in offers


def test_a_host_can_be_jumped_over(loopback_lab: Lab) -> None:
    jump = f"ProxyCommand=ssh -F {loopback_lab.ssh_config_file} -W %h:%p h001"
    assert ssh(loopback_lab, "h002", "echo $NILE_LAB_HOST", "-o", jump).stdout == b"h002\n"


def test_a_terminal_is_given_to_who_asks(loopback_lab: Lab) -> None:
    done = ssh(loopback_lab, "h001", "tty; echo $TERM; exit 3", "-tt")
    terminal, _ = done.stdout.decode().split()
    assert (terminal, done.returncode) == (terminal, 3)
    assert terminal.startswith("/dev/pts/")


def test_files_can_be_fetched_by_sftp(loopback_lab: Lab, paramiko_client: paramiko.SSHClient) -> None:
    (loopback_lab.home("h002") / "note").write_text("here")
    with paramiko_client.open_sftp() as sftp, sftp.open("note") as note:
        assert note.read() == b"here"


def test_sessions_of_all_hosts_at_once(loopback_lab: Lab) -> None:
    clients = [start_ssh(loopback_lab, host, "echo $NILE_LAB_HOST; cat") for host in loopback_lab.names]
    printed = [client.communicate(b"x", timeout=60)[0].decode() for client in clients]
    assert printed == [f"{host}\nx" for host in loopback_lab.names]


def _named(lab: Lab, host: str, name: str) -> list[int]:
    return [process.pid for process in lab.processes(host) if process.name == name]


def _written(pid: int) -> int:
    text = Path(f"/proc/{pid}/io").read_text()
    return int(dict(line.split(": ") for line in text.splitlines())["wchar"])


def _memory_kib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


def test_a_server_outlives_clients_that_vanish_at_any_moment(loopback_lab: Lab) -> None:
    server = loopback_lab.pid("h007")
    log = loopback_lab.directory / "log"
    before = log.stat().st_size
    for command in ("exec >&- 2>&-; read line; kill $$", "yes", "cat", "exec sleep 1000"):
        client = start_ssh(loopback_lab, "h007", command)
        try:
            eventually(lambda: loopback_lab.processes("h007"), "the command runs")
        finally:
            end(client)
        procs.send(_named(loopback_lab, "h007", "sleep"), 9)
        eventually(lambda: not loopback_lab.processes("h007"), "it ended")
    assert loopback_lab.pid("h007") == server
    assert ssh(loopback_lab, "h007", "echo here").stdout == b"here\n"
    assert log.read_bytes()[before:] == b""
