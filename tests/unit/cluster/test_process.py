import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cluster.errors import ClusterError
from tests.cluster.process import Command, Processes, wait_for

SLEEP = Command(["/bin/sleep", "300"])


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    made = Processes(tmp_path)
    yield made
    made.stop(made.names(), grace_s=0)


def test_a_process_outlives_its_starter_and_is_found_by_another(processes: Processes, tmp_path: Path) -> None:
    processes.start("sleeper", SLEEP)
    other = Processes(tmp_path)
    pid = other.pid("sleeper")
    assert pid is not None
    command = Path(f"/proc/{pid}/cmdline")
    wait_for(lambda: command.read_bytes() == b"/bin/sleep\x00300\x00", "the shell to become the program", timeout_s=5)
    other.stop(["sleeper"], grace_s=5)
    assert other.pid("sleeper") is None
    assert other.names() == ["sleeper"], "it can be started again"
    other.start_again("sleeper")
    assert other.pid("sleeper") not in {None, pid}
    other.stop(["sleeper"], grace_s=0, forget=True)
    assert other.names() == []


def test_a_reused_pid_is_never_touched(processes: Processes, tmp_path: Path) -> None:
    processes.start("sleeper", SLEEP)
    processes.stop(["sleeper"], grace_s=0)
    record = tmp_path / "run" / "sleeper.birth"
    sleeper = record.read_text().split(" ")
    with stranger_born_after(int(sleeper[21])) as stranger:
        record.write_text(" ".join([str(stranger.pid), *sleeper[1:]]))
        assert processes.pid("sleeper") is None
        processes.stop(["sleeper"], grace_s=0)
        assert stranger.poll() is None


@contextmanager
def stranger_born_after(tick: int) -> Iterator[subprocess.Popen[bytes]]:
    """Start a process in a later tick of the clock (10 ms) than another: the kernel tells two births by it."""
    hertz = os.sysconf("SC_CLK_TCK")
    wait_for(lambda: int(time.clock_gettime(time.CLOCK_BOOTTIME) * hertz) > tick + 1, "a later tick", timeout_s=5)
    with subprocess.Popen(["/bin/sleep", "300"]) as stranger:
        try:
            yield stranger
        finally:
            stranger.kill()


def test_a_record_of_an_earlier_boot_is_never_used(processes: Processes, tmp_path: Path) -> None:
    processes.start("sleeper", SLEEP)
    assert processes.pid("sleeper") is not None
    record = tmp_path / "run" / "sleeper.json"
    current = record.read_text()
    record.write_text(json.dumps(json.loads(current) | {"boot": "another"}))
    assert processes.pid("sleeper") is None
    record.write_text(current)


def test_a_process_that_ignores_sigterm_is_killed_after_its_grace(processes: Processes) -> None:
    stubborn = "trap '' TERM; echo ready; while :; do sleep 0.1; done"
    processes.start("stubborn", Command(["/bin/sh", "-c", stubborn]))
    wait_for(lambda: "ready" in processes.log("stubborn").read_text(), "the trap", timeout_s=5)
    begin = time.monotonic()
    processes.stop(["stubborn"], grace_s=0.3)
    assert 0.3 <= time.monotonic() - begin < 5
    assert processes.pid("stubborn") is None


def test_a_frozen_process_can_be_stopped(processes: Processes) -> None:
    processes.start("sleeper", SLEEP)
    processes.send_signal("sleeper", signal.SIGSTOP)
    processes.stop(["sleeper"], grace_s=5)
    assert processes.pid("sleeper") is None
    with pytest.raises(ClusterError, match="sleeper is not running"):
        processes.send_signal("sleeper", signal.SIGCONT)


def test_output_environment_and_inherited_files_reach_the_program(processes: Processes) -> None:
    reading, writing = os.pipe()
    command = Command(
        ["/bin/sh", "-c", f'echo "to the log $LLM"; echo "to the pipe" > /proc/self/fd/{writing}'], env={"LLM": "fleet"}
    )
    processes.start("talker", command, pass_fds=(writing,))
    os.close(writing)
    with os.fdopen(reading) as pipe:
        assert pipe.read() == "to the pipe\n"
    assert processes.log("talker").read_text() == "to the log fleet\n"


def test_waiting_in_vain_says_for_what_and_what_was_seen() -> None:
    with pytest.raises(ClusterError, match=r"waited 0.05 s for the moon; last seen: clouds"):
        wait_for(lambda: False, "the moon", timeout_s=0.05, state=lambda: "clouds")


def test_an_unknown_component_is_refused_with_those_there_are(processes: Processes) -> None:
    processes.start("sleeper", SLEEP)
    with pytest.raises(ClusterError, match="no component 'sleper'; there are: sleeper"):
        processes.start_again("sleper")
