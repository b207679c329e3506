"""A launcher with a real engine, as processes of this machine: started, asked, signalled, and never left behind."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from tests.cluster.places import REPOSITORY
from tests.wait import eventually

NAME = "tiny"


class Launched:
    """One launcher under test.

    Attributes:
        api: Base URL of the engine's API.
        probes: Base URL of the launcher's probes.
        termination_log: What Kubernetes would show as the reason of the end.
    """

    def __init__(self, python: Path, folder: Path, model: Path, *options: str) -> None:
        port, probe_port = free_ports()
        self.api = f"http://127.0.0.1:{port}"
        self.probes = f"http://127.0.0.1:{probe_port}"
        self.termination_log = folder / "termination-log"
        self.termination_log.write_text("")
        self._output = folder / "output.txt"
        self._seen: set[int] = set()
        before, dashes, raw = _split(options)
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                [
                    # vLLM starts on every core there is: tests beside it that watch the clock go first.
                    *("nice", "-n", "10"),
                    *(
                        str(python),
                        "-m",
                        "llmfleet_engine",
                        "--model",
                        str(model),
                        "--served-model-name",
                        NAME,
                        "--gpus",
                        "0",
                    ),
                    *("--port", str(port), "--probe-port", str(probe_port)),
                    *("--termination-log", str(self.termination_log), *before, *dashes, "--host", "127.0.0.1", *raw),
                ],
                env=_environment(model.parent.parent / "home"),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def output(self) -> str:
        """Return everything the launcher and the engine have printed."""
        return self._output.read_text(errors="replace")

    def state(self) -> dict[str, Any]:
        """Return what /state answers, nothing where nobody answers."""
        with contextlib.suppress(httpx.HTTPError):
            answer: dict[str, Any] = httpx.get(f"{self.probes}/state", timeout=10).json()
            return answer
        return {}

    def probe(self, path: str) -> int:
        """Return the status of a probe, 0 where nobody answers."""
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(f"{self.probes}{path}", timeout=10).status_code
        return 0

    def until_ready(self, within_s: float = 300) -> list[str]:
        """Wait until it is ready; return the phases seen on the way.

        Raises:
            AssertionError: It ended, or was not ready in time; the text shows its last lines.
        """
        phases: list[str] = []

        def ready() -> bool:
            phase = self.state().get("phase", "")
            if phase and phase not in phases:
                phases.append(phase)
            assert self.process.poll() is None, f"it ended: {self.output()[-3000:]}"
            return self.probe("/readyz") == 200

        eventually(ready, within_s=within_s, what="the engine is ready", last=lambda: self.output()[-3000:])
        return phases

    def descendants(self) -> set[int]:
        """Return the ids of all processes below the launcher, and remember them for `left`."""
        found: set[int] = set()
        parents = [self.process.pid]
        while parents:
            for pid in _children(parents.pop()):
                found.add(pid)
                parents.append(pid)
        self._seen |= found
        return found

    def left(self) -> set[int]:
        """Return which processes of those seen below the launcher still live."""
        return {pid for pid in self._seen if Path(f"/proc/{pid}").exists()}

    def end(self, within_s: float) -> int:
        """Wait for the launcher's end; return its exit status."""
        eventually(
            lambda: self.process.poll() is not None,
            within_s=within_s,
            what="the launcher has ended",
            last=lambda: self.output()[-3000:],
        )
        return self.process.wait()

    def terminate(self) -> float:
        """Send SIGTERM; return the time of it, by the monotonic clock."""
        self.descendants()
        self.process.send_signal(signal.SIGTERM)
        return time.monotonic()

    def clear(self) -> None:
        """Kill what a failed test left."""
        for pid in (*self.descendants(), *self.left(), self.process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(timeout=30)


@contextlib.contextmanager
def launched(python: Path, folder: Path, model: Path, *options: str) -> Iterator[Launched]:
    """Run a launcher while the body runs."""
    made = Launched(python, folder, model, *options)
    try:
        yield made
    finally:
        if made.process.poll() is None:
            made.clear()


def free_ports() -> tuple[int, int]:
    """Return two ports of this machine that nobody uses."""
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        return one.getsockname()[1], other.getsockname()[1]


def events(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    """Yield the documents of a server-sent event stream up to [DONE]."""
    for line in lines:
        if line == "data: [DONE]":
            return
        if line.startswith("data: "):
            yield json.loads(line.removeprefix("data: "))
    raise AssertionError("the stream broke off before [DONE]")


def _split(options: tuple[str, ...]) -> tuple[list[str], list[str], list[str]]:
    before = list(options)
    at = before.index("--") if "--" in before else len(before)
    return before[:at], ["--"], before[at + 1 :]


def _environment(home: Path) -> dict[str, str]:
    """Return the environment of a container: nothing of the person's own; `home` keeps vLLM's cache between tests."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    return kept | {"HOME": str(home), "PYTHONPATH": str(REPOSITORY / "engine_image" / "src")}


def _children(pid: int) -> list[int]:
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []
