"""The engine as a tree of processes: started, signalled, reaped to the last orphan.

In a container the launcher is process 1, so whatever the engine's processes leave behind becomes its child; started by
hand it asks the kernel for the same. Needs the event loop of the main thread.
"""

import asyncio
import ctypes
import os
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from llmfleet_engine.output import Output

PR_SET_CHILD_SUBREAPER = 36
KILLED_S = 5.0  # for the kernel to take away what was killed


class Engine:
    """The engine's processes. `exited` holds the exit code once its first process has ended, -N for signal N."""

    def __init__(self, on_line: Callable[[str], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_line = on_line
        self._childless = asyncio.Event()
        self._pid = 0
        self.output: Output | None = None
        self.exited: asyncio.Future[int] = self._loop.create_future()

    def start(self, command: list[str], environment: Mapping[str, str]) -> None:
        """Starts the engine in a session of its own, so that only the launcher signals it.

        Raises:
            OSError: the program cannot be started.
        """
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self._loop.add_signal_handler(signal.SIGCHLD, self._reap)
        read, write = os.pipe()
        try:
            self._pid = os.posix_spawn(
                command[0],
                command,
                environment,
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_DUP2, write, 1),
                    (os.POSIX_SPAWN_DUP2, write, 2),
                ],
                setsid=True,
                setsigmask=(),
                setsigdef=(signal.SIGPIPE,),  # Python ignores it, a program it starts should not
            )
        finally:
            os.close(write)
        self.output = Output(read, self._on_line)
        self.output.start()

    async def stop(self, grace_s: float) -> None:
        """Ends the engine: a word first, force after `grace_s`, and nothing of it is left."""
        if not self.exited.done():
            self._signal(signal.SIGTERM)
            await asyncio.wait({self.exited}, timeout=grace_s)
        await self.clear()

    async def clear(self) -> None:
        """Kills and reaps whatever of the engine still runs."""
        if not self._pid:
            return
        self._signal(signal.SIGKILL)
        deadline = self._loop.time() + KILLED_S
        while not self._childless.is_set() and self._loop.time() < deadline:
            for pid in children():
                _kill(pid)
            self._reap()
            # A killed process hands its own children to us: look again until there are none.
            with suppress(TimeoutError):
                await asyncio.wait_for(self._childless.wait(), timeout=0.05)
        if self.output is not None:
            await asyncio.to_thread(self.output.join, KILLED_S)

    def _signal(self, number: signal.Signals) -> None:
        """Sends a signal: a request to end to the first process, which tells its own; SIGKILL to all of its group."""
        with suppress(ProcessLookupError):
            if number == signal.SIGKILL:
                os.killpg(self._pid, number)
            elif not self.exited.done():
                os.kill(self._pid, number)

    def _reap(self) -> None:
        """Takes the exit of every child that has ended, ours or inherited."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                self._childless.set()
                return
            if pid == 0:
                return
            if pid == self._pid and not self.exited.done():
                self.exited.set_result(os.waitstatus_to_exitcode(status))


def children() -> list[int]:
    """Returns the process ids of our children."""
    found: list[int] = []
    for task in Path("/proc/self/task").iterdir():
        found += [int(pid) for pid in (task / "children").read_text(encoding="ascii").split()]
    return found


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
