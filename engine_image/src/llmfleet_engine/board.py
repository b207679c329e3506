"""The board: a directory of tiny shared-memory files between the launcher and the middleware in the engine.

The launcher writes one byte, what is to be done with requests; every process that serves the API writes one number,
how many requests it is working on. Reading and writing cost no system call, nobody waits for anybody, any number of
API processes may come and go, and the number of one that died is left out. Standard library only.
"""

import enum
import mmap
import os
import struct
from pathlib import Path

ENVIRONMENT = "LLMFLEET_BOARD"
_ORDER = "order"
_RUNNING = "running."
_COUNT = struct.Struct("<q")


class Order(enum.IntEnum):
    """What is to be done with requests."""

    SERVE = 0
    FAREWELL = 1  # serve, and ask every client to connect anew: the endpoint is on its way out of the Service
    REFUSE = 2  # finish what runs, answer 503 to what comes


def _mapped(path: Path, size: int) -> mmap.mmap:
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.ftruncate(handle, size)
        return mmap.mmap(handle, size)
    finally:
        os.close(handle)


class Desk:
    """The launcher's side: gives the order, reads how many requests run."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._order = _mapped(directory / _ORDER, 1)

    def give(self, order: Order) -> None:
        """Gives an order; it holds from the next request on."""
        self._order[0] = order

    def running(self) -> int:
        """Returns how many requests all living API processes are working on."""
        total = 0
        for path in self._directory.glob(f"{_RUNNING}*"):
            written = path.read_bytes()
            alive = Path(f"/proc/{path.name.removeprefix(_RUNNING)}").exists()
            if alive and len(written) == _COUNT.size:
                total += int(_COUNT.unpack(written)[0])
        return total


class Counter:
    """One API process's side: reads the order, tells how many requests it is working on."""

    def __init__(self, directory: Path) -> None:
        self._order = _mapped(directory / _ORDER, 1)
        self._running = _mapped(directory / f"{_RUNNING}{os.getpid()}", _COUNT.size)

    @property
    def order(self) -> Order:
        """Returns the order that holds now."""
        return Order(self._order[0])

    def add(self, difference: int) -> None:
        """Adds to the number of running requests; called on the process's event loop only."""
        _COUNT.pack_into(self._running, 0, _COUNT.unpack_from(self._running, 0)[0] + difference)
