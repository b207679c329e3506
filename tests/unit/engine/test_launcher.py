"""The launcher as a process, with vLLM played by played/vllm: what it makes of the engine's answers."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.wait import eventually

PLAYED = Path(__file__).parent / "played"
Start = Callable[..., "Life"]


class Life:
    """One launcher; its output goes to a file."""

    def __init__(self, folder: Path, answers: dict[str, list[object]], *raw: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
            port, probe_port = one.getsockname()[1], other.getsockname()[1]
        self._probes = f"http://127.0.0.1:{probe_port}"
        self._output = folder / "output.txt"
        self.termination_log = folder / "termination-log"
        self.termination_log.touch()
        options = ["--model=hf://org/model", "--served-model-name=m", "--gpus=0", "--propagation=0"]
        places = [f"--port={port}", f"--probe-port={probe_port}", f"--termination-log={self.termination_log}"]
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "llmfleet_engine", *options, *places, "--", *raw],
                env={"PATH": os.environ["PATH"], "PYTHONPATH": str(PLAYED), "PLAYED_ANSWERS": json.dumps(answers)},
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def output(self) -> str:
        return self._output.read_text()

    def ready(self) -> bool:
        try:
            return httpx.get(f"{self._probes}/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def settled(self) -> bool:
        """Wait until it is ready, or has ended; say which."""
        eventually(
            lambda: self.ready() or self.process.poll() is not None,
            within_s=20,
            what="the launcher is ready or has ended",
            last=self.output,
        )
        return self.process.poll() is None


@pytest.fixture
def start(tmp_path: Path) -> Start:
    lives: list[Life] = []

    def made(answers: dict[str, list[object]], *raw: str) -> Life:
        lives.append(Life(tmp_path, answers, *raw))
        return lives[-1]

    yield made
    for life in lives:
        life.process.terminate()
        assert life.process.wait(20) in {0, 3}, life.output()


def test_a_model_of_which_no_api_takes_a_text_becomes_ready_all_the_same(start: Start) -> None:
    life = start({})
    assert life.settled(), life.output()
    assert "not warmed up" in life.output()


def test_no_secret_of_the_command_line_is_logged(start: Start) -> None:
    life = start({"/v1/completions": [200, "{}"]}, "--api-key=sk-1234", "--seed=7")
    assert life.settled(), life.output()
    assert "--api-key=*** --seed=7" in life.output()
    assert "sk-1234" not in life.output()
