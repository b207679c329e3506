"""HAProxy's master socket: its workers, orders for each of them, and the reload.

A worker that was replaced lives until its last request ends. It is spoken to as the new one is, so that what it holds
finds engines that came later.
"""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_TIMEOUT_S: Final = 5.0
_PROCESS: Final = re.compile(r"^(\d+)\s+(master|worker)\s+(\d+)(?: \[failed: (\d+)\])?", re.MULTILINE)
_AT_ONCE: Final = 50
"""Orders in one message: it has to fit into a buffer of HAProxy's, 16 KiB by default."""


class HaproxyError(Exception):
    """HAProxy does not answer, or refuses."""


@dataclass(frozen=True, slots=True)
class Processes:
    """The master's processes.

    Attributes:
        current: pid of the worker that takes new connections, 0 where there is none.
        old: pids of those that finish what they have.
        reloads: so often a new file was loaded, or tried.
        failed: so often in a row it was refused.
    """

    current: int
    old: tuple[int, ...]
    reloads: int
    failed: int

    @property
    def workers(self) -> tuple[int, ...]:
        """All that live, the current one first."""
        return (*((self.current,) if self.current else ()), *self.old)


class Master:
    """HAProxy's master process.

    Args:
        socket: path of its socket.
    """

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    async def processes(self) -> Processes:
        """Return its processes.

        Raises:
            HaproxyError: It does not answer.
        """
        return _processes(await self._ask("show proc"))

    async def tell(self, pid: int, orders: Sequence[str]) -> None:
        """Give orders to a worker. What it answers is not read: the next look tells what came of them.

        Raises:
            HaproxyError: It does not answer.
        """
        for first in range(0, len(orders), _AT_ONCE):
            await self._ask(";".join(f"@!{pid} {order}" for order in orders[first : first + _AT_ONCE]))

    async def ask(self, pid: int, order: str) -> str:
        """Return a worker's answer to one order.

        Raises:
            HaproxyError: It does not answer.
        """
        return await self._ask(f"@!{pid} {order}")

    async def reload(self) -> bool:
        """Load the file anew; return whether it was accepted. If not, everything goes on with the file before.

        Raises:
            HaproxyError: It does not answer.
        """
        before = await self.processes()
        await self._ask("reload")
        async with asyncio.timeout(_TIMEOUT_S * 4):
            while True:
                try:
                    now = await self.processes()
                except HaproxyError:
                    now = before  # the master starts itself anew
                if now.reloads > before.reloads or now.failed > before.failed:
                    return now.failed == 0 and now.current not in before.workers
                await asyncio.sleep(0.05)

    async def _ask(self, line: str) -> str:
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                reader, writer = await asyncio.open_unix_connection(self._socket)
                try:
                    writer.write(line.encode() + b"\n")
                    writer.write_eof()  # the master keeps the connection open for more otherwise
                    return (await reader.read(-1)).decode(errors="replace")
                finally:
                    writer.close()
        except (OSError, TimeoutError) as error:
            raise HaproxyError(f"HAProxy does not answer at {self._socket}: {error or 'in time'}") from error


def _processes(shown: str) -> Processes:
    current, old, reloads, failed = 0, [], 0, 0
    for pid, kind, count, failures in _PROCESS.findall(shown):
        if kind == "master":
            reloads, failed = int(count), int(failures or 0)
        elif count == "0":
            current = int(pid)
        else:
            old.append(int(pid))
    return Processes(current, tuple(old), reloads, failed)
