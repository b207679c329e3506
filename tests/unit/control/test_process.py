"""The operator's command and its small server."""

import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import httpx
import pytest

from llmfleet.__main__ import main
from llmfleet.control import process
from llmfleet.control.metrics import Metrics
from llmfleet.control.probes import Vitals, serve
from llmfleet.kube.client import Client
from llmfleet.kube.errors import Forbidden


async def test_the_probes_tell_the_truth() -> None:
    vitals, trouble = Vitals(), [""]
    vitals.checks["watch of Pod"] = lambda: trouble[0]
    runner = await serve("127.0.0.1", 0, vitals, Metrics())
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{runner.addresses[0][1]}") as client:
            starting = await client.get("/readyz")
            vitals.phase, vitals.ready = "standby", True
            standby, alive = await client.get("/readyz"), await client.get("/livez")
            trouble[0] = "no sign of life for 200 s"
            dead, metrics = await client.get("/livez"), await client.get("/metrics")
    finally:
        await runner.cleanup()
    assert (starting.status_code, starting.text) == (503, "starting\n")
    assert (standby.status_code, standby.text) == (200, "standby\n")
    assert alive.status_code == 200
    assert (dead.status_code, dead.text) == (503, "standby\nwatch of Pod: no sign of life for 200 s\n")
    assert 'llmfleet_build_info{version="0.1.0"} 1.0' in metrics.text


async def test_who_may_not_list_our_kind_says_so_while_it_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    vitals, answers = Vitals(), iter([Forbidden("llmdeployments is forbidden", status=403), None])
    seen: list[str] = []

    class Asked:
        async def pages(self, *_: object, **__: object) -> AsyncIterator[dict[str, object]]:
            seen.append(vitals.phase)
            if (error := next(answers)) is not None:
                raise error
            yield {}

    monkeypatch.setattr(process, "_LOOK_AGAIN_S", 0)
    await process._kind_installed(cast("Client", Asked()), vitals, ())
    assert (seen, vitals.phase) == (["starting", "waiting for the right to list llmdeployments"], "starting")


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["version"], 0, "llmfleet 0.1.0"),
        ([], 2, "usage: llmfleet run"),
        (["run", "--workers=0"], 2, "--workers (LLMFLEET_WORKERS): Input should be greater than or equal to 1"),
    ],
    ids=["version", "nothing", "bad setting"],
)
def test_the_command_says_what_is_wrong(
    arguments: list[str], status: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == status
    printed = capsys.readouterr()
    assert said in printed.out + printed.err


def test_a_missing_kubeconfig_ends_with_a_sentence(tmp_path: Path) -> None:
    # A process of its own: the command sends the logs of its whole process to standard error.
    flags = [f"--kubeconfig={tmp_path}/none", "--listen-port=0", "--listen-host=127.0.0.1"]
    command = [sys.executable, "-m", "llmfleet", "run", *flags]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2
    assert f"{tmp_path}/none" in ended.stderr
    assert "Traceback" not in ended.stderr
