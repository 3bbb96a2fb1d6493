"""How fast one node of a chain relays, and what that costs: `python -m tests.bench.relay_speed`.

Four processes: a root with a file in memory, the node, a successor, and a
program that reads the node's pipe. Speed is that of the whole, so the machine
should have a core for each; CPU seconds are the node's own. Each is measured
in the clear and through TLS.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import os
import resource
import sys
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection

from nile.agent.worker import upstream
from nile.agent.worker.chain import Node
from nile.agent.worker.loop import Loop
from nile.agent.worker.reports import Event, Result
from nile.agent.worker.sealing import Tls
from nile.agent.worker.streams import File
from nile.bootstrap.identity import make_identity

MIB = 1024 * 1024
SECRET = b"speed"
DEADLINE_S = 20.0


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _run(loop: Loop, begin: Callable[[Callable[[Result], None]], None]) -> Result:
    """Run the loop until the node that `begin` makes is done."""
    results: list[Result] = []

    def done(result: Result) -> None:
        results.append(result)
        loop.stop()

    begin(done)
    loop.run()
    return results[0]


def _silent(_: Event) -> None:
    pass


def _sink(ring: int, says: Connection, tls: Tls | None) -> None:
    loop = Loop()

    def begin(done: Callable[[Result], None]) -> None:
        node = Node(loop, ring, -1, _silent, done, tls=tls)
        says.send(node.predecessor("127.0.0.1", SECRET, loop.now() + DEADLINE_S))
        node.last()

    says.send(_run(loop, begin).code)


def _relay(ring: int, chunk: int, pipe: int, successor: int, says: Connection, tls: Tls | None) -> None:
    upstream.CHUNK = chunk
    loop = Loop()
    before = _cpu_s()

    def begin(done: Callable[[Result], None]) -> None:
        node = Node(loop, ring, pipe, _silent, done, tls=tls)
        says.send(node.predecessor("127.0.0.1", SECRET, loop.now() + DEADLINE_S))
        node.successor("127.0.0.1", successor, SECRET, loop.now() + DEADLINE_S)

    result = _run(loop, begin)
    says.send((result.code, result.applied, _cpu_s() - before))


def _reader(pipe: int, write_end: int) -> None:
    os.close(write_end)
    room = [bytearray(MIB)]
    while os.readv(pipe, room):
        pass


def _root(file: int, size: int, port: int, tls: Tls | None) -> float:
    """Send the file; the seconds until the successor had it."""
    loop = Loop()
    source = File(file)
    source.finish(size)
    begun = time.monotonic()

    def begin(done: Callable[[Result], None]) -> None:
        node = Node(loop, source, -1, _silent, done, tls=tls)
        node.successor("127.0.0.1", port, SECRET, loop.now() + DEADLINE_S)

    _run(loop, begin)
    return time.monotonic() - begun


def measure(file: int, size: int, ring: int, chunk: int, tls: Tls | None) -> tuple[float, float]:
    """MB/s of the chain, and the relay's CPU seconds for a GB."""
    fork = multiprocessing.get_context("fork")
    sink_says, sink_end = fork.Pipe()
    relay_says, relay_end = fork.Pipe()
    read_end, write_end = os.pipe()
    sink = fork.Process(target=_sink, args=(ring, sink_end, tls), daemon=True)
    reader = fork.Process(target=_reader, args=(read_end, write_end), daemon=True)
    sink.start()
    reader.start()
    os.close(read_end)
    relay = fork.Process(
        target=_relay, args=(ring, chunk, write_end, sink_says.recv(), relay_end, tls), daemon=True
    )
    relay.start()
    os.close(write_end)
    begun = time.monotonic()
    _root(file, size, relay_says.recv(), tls)
    code, applied, cpu_s = relay_says.recv()
    wall_s = time.monotonic() - begun
    if code or not applied or sink_says.recv():
        sys.exit(f"The stream didn't arrive: {code or 'not applied'}")
    for process in (sink, reader, relay):
        process.join()
    return size / wall_s / 1e6, cpu_s / (size / 1e9)


def best(mib: int, repeat: int) -> dict[str, tuple[float, float]]:
    """Of several rounds the best MB/s and CPU seconds for a GB, by way, with chunks and rings as they are."""
    return {way: found for (_, way), found in rounds(mib, repeat, [upstream.CHUNK >> 10], 32).items()}


def rounds(
    mib: int, repeat: int, chunks: Sequence[int], ring: int
) -> dict[tuple[int, str], tuple[float, float]]:
    """The same by (KiB of a chunk, way)."""
    size = mib * MIB
    file = os.memfd_create("stream")
    block = os.urandom(MIB)
    for _ in range(mib):
        os.write(file, block)
    found: dict[tuple[int, str], tuple[float, float]] = {}
    ways = {"clear": None, "TLS": Tls(make_identity())}
    for _ in range(repeat):
        for chunk, (way, tls) in itertools.product(chunks, ways.items()):
            speed, cpu_s = measure(file, size, ring * MIB, chunk * 1024, tls)
            known = found.get((chunk, way), (0.0, float("inf")))
            found[chunk, way] = (max(speed, known[0]), min(cpu_s, known[1]))
    os.close(file)
    return found


def main() -> None:
    """Measure each size of chunk in turn."""
    parser = argparse.ArgumentParser(description="How fast one node of a chain relays, and what that costs.")
    parser.add_argument("--size", type=int, default=1024, help="MiB of the stream (1024)")
    parser.add_argument("--ring", type=int, default=32, help="MiB of each ring (32)")
    parser.add_argument("--repeat", type=int, default=3, help="rounds; the best counts (3)")
    parser.add_argument("chunks", type=int, nargs="*", default=[64, 128, 256, 512, 1024], help="KiB")
    options = parser.parse_args()
    found = rounds(options.size, options.repeat, options.chunks, options.ring)
    print("chunk/KiB   way    MB/s   CPU s/GB")
    for (chunk, way), (speed, cpu_s) in found.items():
        print(f"{chunk:9} {way:>5} {speed:7.0f} {cpu_s:10.2f}")


if __name__ == "__main__":
    main()
