"""Background processes of a cluster, each known by a birth record, so that a reused pid is never touched."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.cluster.errors import ClusterError
from tests.cluster.files import write_whole

_POLL_S = 0.02
_BORN_WITHIN_S = 10.0

# The child writes its own birth record before it becomes the program: were the tool killed right after the fork,
# `down` would still find it. /proc/PID/stat holds the pid and its start time, which together are never reused.
_BIRTH = 'read -r stat < /proc/$$/stat && printf "%s\\n" "$stat" > "$0.tmp" && mv "$0.tmp" "$0" && exec "$@"'


@dataclass(frozen=True, slots=True)
class Command:
    """How one component is started.

    Attributes:
        argv: The program and its arguments, with absolute paths.
        netns: The network namespace it runs in; None for the host's.
        env: Variables added to the environment of the tool.
    """

    argv: list[str]
    netns: str | None = None
    env: dict[str, str] = field(default_factory=dict)


class Processes:
    """The processes of one cluster: records and logs live in its state folder, so any later run can control them."""

    def __init__(self, state: Path) -> None:
        self._records = state / "run"
        self._logs = state / "logs"

    def log(self, component: str) -> Path:
        """Return the path of the component's log file."""
        return self._logs / f"{component}.log"

    def names(self) -> list[str]:
        """Return the components that were started and not stopped, dead ones included."""
        return sorted(path.stem for path in self._records.glob("*.json"))

    def start(self, component: str, command: Command, *, pass_fds: tuple[int, ...] = ()) -> None:
        """Start a component; it outlives the tool. Its output is added to its log."""
        self._records.mkdir(parents=True, exist_ok=True)
        self._logs.mkdir(parents=True, exist_ok=True)
        record = self._records / f"{component}.birth"
        record.unlink(missing_ok=True)
        write_whole(self._records / f"{component}.json", json.dumps({"boot": boot_id(), **asdict(command)}))
        enter = ["nsenter", f"--net=/run/netns/{command.netns}"] if command.netns else []
        with self.log(component).open("ab") as log:
            subprocess.run(
                ["setsid", "--fork", "/bin/sh", "-c", _BIRTH, str(record), *enter, *command.argv],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | command.env,
                pass_fds=pass_fds,
                cwd="/",
                check=True,
            )
        wait_for(record.exists, f"{component} to be born", timeout_s=_BORN_WITHIN_S, log=self.log(component))

    def start_again(self, component: str) -> None:
        """Start a stopped component with the command it had."""
        self.start(component, self.command(component))

    def command(self, component: str) -> Command:
        """Return how the component was started last.

        Raises:
            ClusterError: There is no component of that name.
        """
        try:
            record = json.loads((self._records / f"{component}.json").read_text())
            return Command(argv=record["argv"], netns=record["netns"], env=record["env"])
        except FileNotFoundError:
            known = ", ".join(self.names()) or "none"
            raise ClusterError(f"no component {component!r}; there are: {known}") from None

    def pid(self, component: str) -> int | None:
        """Return the pid of the component if that very process still lives, else None."""
        try:
            boot = json.loads((self._records / f"{component}.json").read_text())["boot"]
            born = (self._records / f"{component}.birth").read_text()
        except (FileNotFoundError, ValueError):  # after a crash of the machine a file may be empty
            return None
        pid = int(born.split(" ", 1)[0])
        return pid if boot == boot_id() and _start_tick(born) == _start_tick(_stat(pid)) else None

    def send_signal(self, component: str, number: signal.Signals) -> None:
        """Send a signal to the component's process.

        Raises:
            ClusterError: It is not running.
        """
        pid = self.pid(component)
        if pid is None:
            self.command(component)
            raise ClusterError(f"{component} is not running", log=self.log(component))
        os.kill(pid, number)

    def stop(self, components: list[str], *, grace_s: float, forget: bool = False) -> None:
        """End components together: SIGTERM, and SIGKILL to those that are left after the grace period.

        Args:
            components: Their names; those that do not run are passed over.
            grace_s: Seconds to end by themselves; 0 kills at once.
            forget: Also drop the records, so that they cannot be started again.
        """
        # A stopped process could not react to SIGTERM.
        self._signal_all(components, [signal.SIGTERM, signal.SIGCONT] if grace_s else [signal.SIGKILL])
        self._wait_gone(components, grace_s)
        self._signal_all(components, [signal.SIGKILL])
        left = self._wait_gone(components, 10.0)
        if left:
            raise ClusterError(f"these processes survived SIGKILL for 10 s: {', '.join(left)}")
        for component in components if forget else []:
            for suffix in ("json", "birth", "birth.tmp"):
                (self._records / f"{component}.{suffix}").unlink(missing_ok=True)

    def _signal_all(self, components: list[str], numbers: list[signal.Signals]) -> None:
        for component in components:
            pid = self.pid(component)
            for number in numbers if pid is not None else []:
                _kill(pid, number)

    def _wait_gone(self, components: list[str], timeout_s: float) -> list[str]:
        deadline = time.monotonic() + timeout_s
        while True:
            left = [component for component in components if self.pid(component) is not None]
            if not left or time.monotonic() > deadline:
                return left
            time.sleep(_POLL_S)


def wait_for(
    condition: Callable[[], object],
    what: str,
    *,
    timeout_s: float,
    log: Path | None = None,
    state: Callable[[], str] = str,
) -> None:
    """Wait until the condition holds.

    Args:
        condition: Asked again and again; it may raise ClusterError to give up at once.
        what: What is waited for, for the error: "waited for {what}".
        timeout_s: Seconds after which waiting is an error.
        log: The log that would explain a failure.
        state: Tells the last state seen, for the error.
    """
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            seen = state()
            raise ClusterError(f"waited {timeout_s:g} s for {what}{f'; last seen: {seen}' if seen else ''}", log=log)
        time.sleep(_POLL_S)


def kill_all(pids: set[int]) -> None:
    """Send SIGKILL to the given processes; those that are gone already are passed over."""
    for pid in pids:
        _kill(pid, signal.SIGKILL)


def _kill(pid: int | None, number: signal.Signals) -> None:
    try:
        if pid is not None:
            os.kill(pid, number)
    except ProcessLookupError:
        return


def _stat(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _start_tick(stat: str) -> str | None:
    """Return the clock tick since boot at which a process started, or None if it is gone or a zombie."""
    fields = stat.rpartition(")")[2].split()
    return None if not fields or fields[0] in {"Z", "X"} else fields[19]


def boot_id() -> str:
    """Return what tells this boot of the machine from all others."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
