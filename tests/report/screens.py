"""A screen whose both streams can be read back, as pipes or as terminals."""

from __future__ import annotations

import io

from nile.report import Screen, Sink


class Caught:
    """Bytes written to standard output and error; `order` has both as they would mix on one terminal."""

    def __init__(self, *, terminal: bool = False, colour: bool = False) -> None:
        self.order = io.BytesIO()
        self._out, self._err = _Tee(self.order), _Tee(self.order)
        streams = [
            io.TextIOWrapper(raw, encoding="utf-8", write_through=False) for raw in (self._out, self._err)
        ]
        sinks = [Sink(stream, terminal=terminal, colour=colour) for stream in streams]
        self.screen = Screen(*sinks)

    @property
    def out(self) -> bytes:
        self.screen.flush()
        return self._out.getvalue()

    @property
    def err(self) -> bytes:
        self.screen.flush()
        return self._err.getvalue()


class _Tee(io.BytesIO):
    """Bytes that also go to another place when they are flushed, as a buffered stream's do."""

    def __init__(self, other: io.BytesIO) -> None:
        super().__init__()
        self._other = other
        self._passed_on = 0

    def flush(self) -> None:
        if not self.closed:
            self._other.write(self.getvalue()[self._passed_on :])
            self._passed_on = len(self.getvalue())
        super().flush()
