"""manifests/argocd/health.lua, run by the interpreter that Argo CD has inside (gopher-lua)."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from llmfleet.api.reasons import ConditionType
from llmfleet.api.status import Condition, Status
from tests.cluster.gotools import binary

SCRIPT = Path("manifests/argocd/health.lua")
GENERATION = 3


@pytest.fixture(scope="module")
def interpreter() -> Path:
    return binary("glua")


def _lua(value: Any) -> str:
    """Write a JSON value as a Lua literal."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"[{json.dumps(key)}] = {_lua(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "{" + ", ".join(map(_lua, value)) + "}"
    return json.dumps(value)


def _status(*true: ConditionType, false: tuple[ConditionType, ...] = (), generation: int = GENERATION) -> Status:
    answers = {**dict.fromkeys(false, "False"), **dict.fromkeys(true, "True")}
    return Status(
        observed_generation=generation,
        summary="Serving chat on 1/1 replicas of 6c9f4.",
        conditions=tuple(
            Condition(
                type=kind,
                status=answer,
                reason="Any",
                message="any",
                observed_generation=generation,
                last_transition_time="2026-01-01T00:00:00Z",
            )
            for kind, answer in answers.items()
        ),
    )


READY, STALLED, RECONCILING = ConditionType.READY, ConditionType.STALLED, ConditionType.RECONCILING
PAUSED = ConditionType.PAUSED


@pytest.mark.parametrize(
    ("status", "health"),
    [
        (None, "Progressing"),
        (Status(), "Progressing"),
        (_status(READY, generation=GENERATION - 1), "Progressing"),
        (_status(RECONCILING, false=(READY,)), "Progressing"),
        (_status(READY), "Healthy"),
        (_status(READY, STALLED), "Degraded"),
        (_status(STALLED, READY), "Degraded"),
        (_status(STALLED, false=(READY,)), "Degraded"),
        (_status(PAUSED, false=(READY,)), "Suspended"),
        (_status(READY, PAUSED), "Healthy"),
        (_status(STALLED, PAUSED, false=(READY,)), "Degraded"),
    ],
    ids=[
        "no status",
        "empty status",
        "old status",
        "reconciling",
        "ready",
        "ready but stalled",
        "either order",
        "stalled",
        "paused with changes waiting",
        "paused",
        "paused and stalled",
    ],
)
def test_argo_cd_is_told(status: Status | None, health: str, interpreter: Path, tmp_path: Path) -> None:
    obj: dict[str, Any] = {"metadata": {"generation": GENERATION}}
    if status is not None:
        obj["status"] = status.model_dump(by_alias=True, exclude_none=True, mode="json")
    program = tmp_path / "ask.lua"
    program.write_text(
        f"obj = {_lua(obj)}\nlocal told = dofile({json.dumps(str(SCRIPT.absolute()))})\n"
        "print(told.status)\nprint(told.message)\n"
    )
    done = subprocess.run([interpreter, program], capture_output=True, text=True, check=True)
    said, message = done.stdout.splitlines()
    current = status is not None and status.observed_generation == GENERATION
    assert (said, message) == (health, status.summary if current else "llmfleet has not looked at it yet")
