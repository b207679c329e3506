"""SIGTERM before the launcher is up, as process 1: for that one the kernel drops a signal that nobody handles."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.places import REPOSITORY
from tests.wait import eventually

PLAYED = Path(__file__).parent / "played"
OPTIONS = ("--model=hf://org/model", "--served-model-name=m", "--gpus=0", "--drain-timeout=60", "--propagation=0")
DELAYS_S = (0.0, 0.005, 0.01, 0.02, 0.03, 0.05, 0.08, 0.12, 0.2, 0.3, 0.5, 0.8, 1.2)


def entry_point() -> list[str]:
    """Return what both flavours of the image start."""
    recipe = (REPOSITORY / "engine_image" / "Containerfile").read_text()
    gpu, cpu = re.findall(r"^ENTRYPOINT (.*)$", recipe, re.MULTILINE)
    assert gpu == cpu
    command: list[str] = json.loads(gpu)
    return command


def child(pid: int) -> int:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(children[0]) if children else 0


def is_python(pid: int) -> bool:
    return pid != 0 and Path(f"/proc/{pid}/comm").read_text().startswith("python")


@pytest.mark.skipif(os.geteuid() != 0, reason="a PID namespace needs root")
@pytest.mark.parametrize("delay_s", DELAYS_S)
def test_sigterm_in_the_first_second_ends_the_launcher_at_once(tmp_path: Path, delay_s: float) -> None:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        ports = (f"--port={one.getsockname()[1]}", f"--probe-port={other.getsockname()[1]}")
    space = subprocess.Popen(
        ["unshare", "--pid", "--fork", "--kill-child", *entry_point(), *OPTIONS, *ports],
        env={"PATH": path, "PYTHONPATH": str(PLAYED), "PLAYED_ANSWERS": "{}", "TMPDIR": str(tmp_path)},
    )
    try:
        eventually(lambda: is_python(child(space.pid)), within_s=20, what="process 1 is Python", every_s=0.001)
        launcher = child(space.pid)
        with pytest.raises(subprocess.TimeoutExpired):
            space.wait(delay_s)
        os.kill(launcher, signal.SIGTERM)
        assert space.wait(10) == 0
    finally:
        space.kill()
        space.wait()
