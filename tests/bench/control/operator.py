"""The operator that is measured: `llmfleet run` as a process, under the account and the rights that the chart gives."""

import asyncio
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Final

import aiohttp

from tests.bench.control import meters
from tests.operator_process import environment_of_an_image, operator_command

_READY_S: Final = 120.0
_QUIET_S: Final = 3.0
_POLL_S: Final = 0.25


class Operator:
    """One process after another.

    Args:
        kubeconfig: who it is and where.
        log: where its output goes.
    """

    def __init__(self, kubeconfig: Path, log: Path) -> None:
        self._kubeconfig, self._log = kubeconfig, log
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    @property
    def pid(self) -> int:
        """Of the running process."""
        if self._process is None:
            raise RuntimeError("the operator does not run")
        return self._process.pid

    def start(self) -> None:
        """Start it; `ready` waits."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        flags = [f"--kubeconfig={self._kubeconfig}", "--listen-host=127.0.0.1", f"--listen-port={self.port}"]
        command = operator_command("run", *flags, "--lease-namespace=llmfleet-system")
        with self._log.open("ab") as out:
            self._process = subprocess.Popen(command, stdout=out, stderr=out, env=environment_of_an_image())

    async def ready(self) -> None:
        """Wait until it leads and has read the cluster."""
        deadline = time.monotonic() + _READY_S
        async with aiohttp.ClientSession() as session:
            while time.monotonic() < deadline:
                try:
                    async with session.get(f"http://127.0.0.1:{self.port}/readyz") as answer:
                        if answer.status == 200 and (await answer.text()).splitlines()[0] == "leading":
                            return
                except aiohttp.ClientError:
                    if self._process is None or self._process.poll() is not None:
                        raise RuntimeError(f"the operator ended; see {self._log}") from None
                await asyncio.sleep(_POLL_S)
        raise TimeoutError(f"the operator does not lead; see {self._log}")

    async def quiet(self, within_s: float) -> float:
        """Wait until it has made no call but for its Lease for 3 s; return the monotonic time of the last one."""
        last, calls = time.monotonic(), 0
        deadline = last + within_s
        while time.monotonic() - last < _QUIET_S:
            if time.monotonic() > deadline:
                raise TimeoutError(f"the operator is not quiet after {within_s:g} s")
            made = await meters.requests(self.port)
            seen = sum(number for (_, resource), number in made.items() if resource != "leases")
            if seen != calls:
                calls, last = seen, time.monotonic()
            await asyncio.sleep(_POLL_S)
        return last

    def stop(self) -> float:
        """End it as a Deployment does; return the seconds it took."""
        if self._process is None:
            return 0.0
        begin = time.monotonic()
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(30)
        self._process = None
        return time.monotonic() - begin
