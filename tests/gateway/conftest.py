"""A real HAProxy with the agent's hand on it, and simulated engines behind it: processes of this machine."""

import asyncio
import os
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from llmfleet.gateway.haproxy.file import Structure
from llmfleet.gateway.haproxy.proxy import Proxy
from llmfleet.gateway.haproxy.runtime import HaproxyError
from llmfleet.gateway.haproxy.slots import sizes_for
from llmfleet.gateway.routing import Engine, Routing
from tests.cluster.gotools import binary
from tests.cluster.packages import haproxy
from tests.wait import eventually


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Simulator:
    """One simulated engine: `llm-d-inference-sim` under a port of its own."""

    def __init__(self, model: str, folder: Path, *flags: str) -> None:
        self.port = free_port()
        self.uid = f"engine-{self.port}"
        command = [str(binary("llm-d-inference-sim")), f"--port={self.port}", f"--model={model}", *flags]
        with (folder / f"{self.uid}.log").open("wb") as output:
            self.process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, cwd=folder)

    def wait(self) -> None:
        eventually(self._answers, within_s=20, what=f"the engine at {self.port} answers")

    def engine(self, *, leaving: bool = False) -> Engine:
        return Engine(self.uid, "127.0.0.1", self.port, leaving)

    async def metric(self, name: str) -> float:
        """Return a metric of the engine, summed up over its labels."""
        async with httpx.AsyncClient() as client:
            metrics = (await client.get(f"http://127.0.0.1:{self.port}/metrics")).text
        return sum(float(line.rpartition(" ")[2]) for line in metrics.splitlines() if line.startswith(f"{name}{{"))

    def _answers(self) -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}/health").is_success
        except httpx.TransportError:
            return False

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


class Gateway:
    """HAProxy, told what to do as the agent does."""

    def __init__(self, folder: Path, **structure: object) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        fixed = {"bind": f"127.0.0.1:{self.port}", "keys": False, "sizes": sizes_for((), {}), "connections": 2000}
        self.folder = folder
        self._structure = Structure(**{**fixed, **structure})
        self.begin_anew()
        self._output = folder / "haproxy.log"
        self.process = self._start()

    def begin_anew(self) -> None:
        """Put an agent in place of the one before, that knows nothing."""
        self.proxy = Proxy(self.folder, self._structure)
        self.proxy.boot()

    def restart(self) -> None:
        """Kill HAProxy, and start it as the kubelet does."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        for pid in (self.process.pid, *map(int, children)):
            os.kill(pid, signal.SIGKILL)
        self.process.wait()
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        program, environment = haproxy()
        folder = self.folder
        command = [str(program), "-W", "-S", f"{folder}/master.sock,mode,600", "-f", f"{folder}/haproxy.cfg"]
        with self._output.open("ab") as output:
            return subprocess.Popen(command, env={**os.environ, **environment}, stdout=output, stderr=subprocess.STDOUT)

    async def route(self, routing: Routing, within_s: float = 10) -> float:
        """Tell it what to do, until it does; return the seconds that took."""
        began = time.monotonic()
        while time.monotonic() - began < within_s:
            try:
                if await self.proxy.converge(routing):
                    return time.monotonic() - began
            except HaproxyError:
                assert self.process.poll() is None, self._output.read_text()
            await asyncio.sleep(0.02)
        raise AssertionError(f"not as told within {within_s:.0f} s:\n{self._output.read_text()[-4000:]}")

    def configuration(self) -> list[Path]:
        """Return HAProxy's file and its maps."""
        return sorted([*self.folder.glob("*.cfg"), *self.folder.glob("*.map")])

    def written(self) -> bytes:
        """Return everything that was written for HAProxy, and what it printed."""
        return b"".join(path.read_bytes() for path in self.folder.rglob("*") if path.is_file())

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=10)


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    made = Gateway(tmp_path / "run")
    yield made
    made.stop()


@pytest.fixture
def simulate(tmp_path: Path) -> Iterator[Callable[..., Simulator]]:
    with ExitStack() as stack:

        def start(model: str, *flags: str) -> Simulator:
            made = Simulator(model, tmp_path, *flags)
            stack.callback(made.stop)
            made.wait()
            return made

        yield start


@pytest.fixture
async def client(gateway: Gateway) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=gateway.url, timeout=30) as made:
        yield made
