"""One SSH session of a loopback host: a command, and the bytes between it and its client."""

from __future__ import annotations

import asyncio
import fcntl
import os
import shlex
import signal
import struct
import subprocess
import termios
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import asyncssh

from nile.lab.login import HostConfig

CHUNK = 65536
SFTP_SERVERS = (
    "/usr/lib/openssh/sftp-server",
    "/usr/libexec/openssh/sftp-server",
    "/usr/lib/ssh/sftp-server",
)


class _Outflow:
    """Bytes of one of the command's outputs on their way to the channel."""

    def __init__(self, fd: int, write: Callable[[bytes], None], ended: Callable[[], None]) -> None:
        os.set_blocking(fd, False)
        self._loop = asyncio.get_running_loop()
        self._fd = fd
        self._write = write
        self._ended = ended

    def resume(self) -> None:
        if self._fd >= 0:
            self._loop.add_reader(self._fd, self._readable)

    def pause(self) -> None:
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)

    def close(self) -> None:
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _readable(self) -> None:
        try:
            data = os.read(self._fd, CHUNK)
        except BlockingIOError:
            return
        except OSError:  # EIO: the last process left the terminal
            data = b""
        if not data:
            self.close()
            self._ended()
            return
        try:
            self._write(data)
        except OSError:  # the client just closed the channel
            self.close()


class _Inflow:
    """Bytes of the client on their way to the command's standard input."""

    def __init__(self, fd: int, pause: Callable[[], None], resume: Callable[[], None]) -> None:
        os.set_blocking(fd, False)
        self._loop = asyncio.get_running_loop()
        self._fd = fd
        self._pause = pause
        self._resume = resume
        self._waiting = bytearray()
        self._at_end = False

    def feed(self, data: bytes) -> None:
        """Write now what the pipe takes; stop the client for the rest. A closed pipe swallows."""
        if self._fd < 0:
            return
        idle = not self._waiting
        self._waiting += data
        if idle:
            self._flush()
            if self._waiting:
                self._pause()
                self._loop.add_writer(self._fd, self._writable)

    def end(self) -> None:
        """Close the pipe once all is written."""
        self._at_end = True
        if not self._waiting:
            self.close()

    def close(self) -> None:
        if self._fd >= 0:
            self._loop.remove_writer(self._fd)
            os.close(self._fd)
            self._fd = -1
            self._waiting.clear()

    def _writable(self) -> None:
        self._flush()
        if self._fd >= 0 and not self._waiting:
            self._loop.remove_writer(self._fd)
            if self._at_end:
                self.close()
        if not self._waiting:
            self._resume()

    def _flush(self) -> None:
        try:
            while self._waiting:
                with memoryview(self._waiting) as view:
                    sent = os.write(self._fd, view[:CHUNK])
                del self._waiting[:sent]
        except BlockingIOError:
            return
        except OSError:  # EPIPE: the command closed its standard input
            self.close()


class CommandSession(asyncssh.SSHServerSession[bytes]):
    """A command, shell or subsystem that a client asked for."""

    def __init__(self, config: HostConfig, commands: dict[int, CommandSession]) -> None:
        self._config = config
        self._commands = commands
        self._argv: list[str] = []
        self._terminal: tuple[int, int, int, int] | None = None
        self._master = -1
        self._pid = 0
        self._status: int | None = None
        self._lost = False
        self._open_outputs = 0
        self._outflows: list[_Outflow] = []
        self._inflow: _Inflow | None = None

    # What the client asks for.

    def connection_made(self, chan: asyncssh.SSHServerChannel[bytes]) -> None:
        """Keep the channel."""
        self._chan = chan

    def pty_requested(self, term_type: str, term_size: tuple[int, int, int, int], term_modes: Any) -> bool:
        """A terminal is granted."""
        self._terminal = term_size
        return True

    def terminal_size_changed(self, width: int, height: int, pixwidth: int, pixheight: int) -> None:
        """Hand the client's window size on."""
        if self._master >= 0:
            size = struct.pack("HHHH", height, width, pixwidth, pixheight)
            fcntl.ioctl(self._master, termios.TIOCSWINSZ, size)

    def exec_requested(self, command: str) -> bool:
        """A command: `$SHELL -c COMMAND`."""
        self._argv = [Path(self._config.shell).name, "-c", command]
        return True

    def shell_requested(self) -> bool:
        """A login shell."""
        self._argv = [f"-{Path(self._config.shell).name}"]
        return True

    def subsystem_requested(self, subsystem: str) -> bool:
        """`sftp`, where the machine has OpenSSH's server for it."""
        server = next((path for path in SFTP_SERVERS if os.access(path, os.X_OK)), None)
        if subsystem != "sftp" or server is None:
            return False
        self._argv = [Path(self._config.shell).name, "-c", shlex.quote(server)]
        return True

    def session_started(self) -> None:
        """All is agreed: start."""
        try:
            self._start()
        except OSError as error:
            self._chan.write_stderr(f"lab: can't start a session: {error}\n".encode())
            self._chan.exit(255)

    def signal_received(self, signal: str) -> None:
        """Pass a signal on to the command's process group."""
        self._signal(signal)

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        """Bytes for the command."""
        if self._inflow is not None:
            self._inflow.feed(data)

    def eof_received(self) -> bool:
        """The client's end of file."""
        if self._inflow is not None and self._master < 0:
            self._inflow.end()
        return True  # the other direction stays open

    def pause_writing(self) -> None:
        """The client is slow: stop reading what the command writes."""
        for flow in self._outflows:
            flow.pause()

    def resume_writing(self) -> None:
        """Go on reading."""
        for flow in self._outflows:
            flow.resume()

    def connection_lost(self, exc: Exception | None) -> None:
        """Close the pipes and leave the command alone, as sshd does."""
        self._lost = True
        for flow in self._outflows:
            flow.close()
        if self._inflow is not None:
            self._inflow.close()

    # The command.

    def process_ended(self, status: int) -> None:
        """The command was reaped; `status` as waitpid gives it."""
        self._status = status
        self._finish()

    def _environment(self) -> dict[str, str]:
        mine, peer = self._chan.get_extra_info("sockname"), self._chan.get_extra_info("peername")
        env = self._config.environment()
        env["SSH_CLIENT"] = f"{peer[0]} {peer[1]} {mine[1]}"
        env["SSH_CONNECTION"] = f"{peer[0]} {peer[1]} {mine[0]} {mine[1]}"
        for name, value in self._chan.get_environment().items():
            if name == "LANG" or name.startswith("LC_"):  # Debian's AcceptEnv
                env[name] = value
        if self._terminal is not None:
            env["TERM"] = self._chan.get_terminal_type() or "dumb"
        return env

    def _words(self) -> tuple[list[str], str]:
        """argv and the program to run, the login delay before it if there is one."""
        if self._config.delay_login_s <= 0:
            return self._argv, self._config.shell
        wait = 'sleep "$0"; shell=$1; shift; exec "$shell" "$@"'
        delay = f"{self._config.delay_login_s:g}"
        return ["sh", "-c", wait, delay, self._config.shell, *self._argv[1:]], "/bin/sh"

    def _start(self) -> None:
        if self._terminal is not None:
            self._start_on_terminal(self._terminal)
        else:
            self._start_on_pipes()
        self._commands[self._pid] = self
        self.resume_writing()

    def _start_on_pipes(self) -> None:
        words, program = self._words()
        process = subprocess.Popen(
            words,
            executable=program,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            cwd=self._config.home,
            env=self._environment(),
            start_new_session=True,
        )
        self._adopt(process)
        fds = [_own_fd(stream) for stream in (process.stdin, process.stdout, process.stderr)]
        self._inflow = _Inflow(fds[0], self._chan.pause_reading, self._chan.resume_reading)
        self._outflows = [
            _Outflow(fds[1], self._chan.write, self._output_ended),
            _Outflow(fds[2], self._chan.write_stderr, self._output_ended),
        ]
        self._open_outputs = 2

    def _start_on_terminal(self, size: tuple[int, int, int, int]) -> None:
        self._master, slave = os.openpty()
        self.terminal_size_changed(*size)
        words, program = self._words()
        try:
            process = subprocess.Popen(
                words,
                executable=program,
                stdin=slave,
                stdout=slave,
                stderr=slave,
                cwd=self._config.home,
                env={**self._environment(), "SSH_TTY": os.ttyname(slave)},
                start_new_session=True,
                preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
            )
        finally:
            os.close(slave)
        self._adopt(process)
        self._inflow = _Inflow(os.dup(self._master), self._chan.pause_reading, self._chan.resume_reading)
        self._outflows = [_Outflow(self._master, self._chan.write, self._output_ended)]
        self._open_outputs = 1

    def _adopt(self, process: subprocess.Popen[bytes]) -> None:
        """Take the reaping over from subprocess: this host reaps by waitpid(-1)."""
        self._pid = process.pid
        process.returncode = 0

    def _output_ended(self) -> None:
        self._open_outputs -= 1
        self._finish()

    def _finish(self) -> None:
        """Tell the status once the command has ended and nobody holds its outputs any more."""
        if self._status is None or self._open_outputs or self._lost:
            return
        if os.WIFSIGNALED(self._status):
            name = signal.Signals(os.WTERMSIG(self._status)).name.removeprefix("SIG")
            self._chan.exit_with_signal(name, os.WCOREDUMP(self._status))
        else:
            self._chan.exit(os.WEXITSTATUS(self._status))

    def _signal(self, name: str) -> None:
        number = getattr(signal, f"SIG{name}", None)
        if number is not None and self._pid and self._status is None:
            os.killpg(self._pid, number)


def _own_fd(stream: IO[bytes] | None) -> int:
    """A descriptor of one's own for a stream, which is closed."""
    assert stream is not None
    with stream:
        return os.dup(stream.fileno())
