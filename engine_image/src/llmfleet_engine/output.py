"""Passes the engine's output on and remembers its last lines."""

import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable

LINES = 4000
LONGEST = 2000  # characters kept of a line
CHUNK = 65_536  # bytes
BREAKS = (b"\n", b"\r")  # a progress bar ends its lines with the second


class Output(threading.Thread):
    """Reads the engine's output from a pipe, byte for byte to standard output, and line by line to `on_line`.

    A thread of its own: when nobody takes our output, the probes must go on answering.
    """

    def __init__(self, pipe: int, on_line: Callable[[str], None]) -> None:
        super().__init__(name="output", daemon=True)
        self._pipe = pipe
        self._on_line = on_line
        self._lines: deque[tuple[float, str]] = deque(maxlen=LINES)
        self._writable = True

    def lines(self, seconds: float | None = None) -> list[str]:
        """Returns the last lines, oldest first; those of the last `seconds` only, where given."""
        since = 0.0 if seconds is None else time.monotonic() - seconds
        return [line for at, line in tuple(self._lines) if at >= since]

    def run(self) -> None:
        """Reads until every process that holds the pipe has ended."""
        rest = b""
        while chunk := os.read(self._pipe, CHUNK):
            rest += chunk
            end = max(rest.rfind(mark) for mark in BREAKS) + 1
            if end == 0 and len(rest) > CHUNK:
                end = len(rest)
            self._pass_on(rest[:end])
            rest = rest[end:]
        self._pass_on(rest)
        os.close(self._pipe)

    def _pass_on(self, whole: bytes) -> None:
        if not whole:
            return
        if self._writable:
            try:
                sys.stdout.buffer.write(whole)
                sys.stdout.buffer.flush()
            except OSError:
                self._writable = False  # nobody listens any more; the engine must not be held up by that
        now = time.monotonic()
        for line in whole.decode(errors="replace").replace("\r", "\n").splitlines():
            if line.strip():
                self._lines.append((now, line[:LONGEST]))
                self._on_line(line)
