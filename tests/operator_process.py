"""The operator as a process of its own, as a test or a person outside the cluster would run it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from tests.wait import eventually


def environment_of_an_image() -> dict[str, str]:
    """Return our environment, but as in the operator's image Python keeps what it has compiled."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def operator_command(*arguments: str) -> list[str]:
    """Return the command that runs the operator as its image does.

    The image has no `kubernetes` package. Tests have it, and kopf would load it: a quarter of a second, and 10 MiB.
    """
    program = "import sys; sys.modules['kubernetes'] = None; from llmfleet.__main__ import main; sys.exit(main())"
    return [sys.executable, "-c", program, *arguments]


class OperatorProcess:
    """``llmfleet run`` against a cluster; as a context it is started and stopped.

    Args:
        kubeconfig: who it is and where.
        log: where its output goes.
        flags: further flags.
        environment: variables besides those of the tests.
    """

    def __init__(self, kubeconfig: Path, log: Path, *flags: str, environment: Mapping[str, str] | None = None) -> None:
        self.log = log
        self._flags = [
            f"--kubeconfig={kubeconfig}",
            "--lease-namespace=default",
            "--listen-host=127.0.0.1",
            "--listen-port=0",
            *flags,
        ]
        self._environment = {**environment_of_an_image(), **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *, wait: bool = True) -> Self:
        with self.log.open("ab") as out:
            offset = self.log.stat().st_size
            command = operator_command("run", *self._flags)
            self._process = subprocess.Popen(command, stdout=out, stderr=out, env=self._environment)
        if wait:
            try:
                eventually(
                    lambda: self._says("leading", offset), within_s=30, what="the operator leads", last=self.tail
                )
            except AssertionError:
                self.stop()
                raise
        return self

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End it and return its exit status."""
        if self._process is None:
            return 0
        self._process.send_signal(number)
        status = self._process.wait(20)
        self._process = None
        return status

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def lines(self) -> list[dict[str, Any]]:
        """Its log, parsed; every line is JSON."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def tail(self) -> str:
        return "\n".join(self.log.read_text().splitlines()[-15:])

    def _says(self, message: str, offset: int) -> bool:
        if not self.running:
            raise AssertionError(f"the operator ended:\n{self.tail()}")
        with self.log.open() as log:
            log.seek(offset)
            return f'"message": "{message}"' in log.read()
