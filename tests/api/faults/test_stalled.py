"""What fails for good is told on the object that it concerns, and slows nobody else."""

import time
from pathlib import Path
from uuid import uuid4

import pytest

from tests.api.faults.fleet import Fleet
from tests.api.faults.proxy import Asked, FaultProxy
from tests.api.faults.vitals import metric
from tests.operator_process import OperatorProcess
from tests.wait import eventually

pytestmark = pytest.mark.api

OTHERS = 20


def children_of_ill(asked: Asked) -> bool:
    return asked.counts and asked.plural != "llmdeployments" and asked.name.startswith("ill")


def condition(fleet: Fleet, kind: str) -> dict[str, str]:
    conditions = fleet.models()["ill"].get("status", {}).get("conditions", [])
    return next((found for found in conditions if found["type"] == kind), {})


def test_one_that_cannot_be_written_is_stalled_and_the_others_do_not_notice(
    proxy: FaultProxy, fleet: Fleet, log: Path
) -> None:
    name = f"stalled-{uuid4().hex[:6]}"
    with OperatorProcess(proxy.kubeconfig(name), log, f"--lease-name={name}") as operator:
        fleet.apply("ill")
        fleet.settle()
        serving = fleet.selected()["ill"]
        with proxy.answering(500, only=children_of_ill):
            fleet.apply("ill", tag="2")
            ill = fleet.wanted.pop("ill")
            begin = time.monotonic()
            eventually(lambda: metric(operator, "llmfleet_queue_failing") == 1, within_s=10, what="one fails")
            for number in range(OTHERS):
                fleet.apply(f"well{number}")
            eventually(
                lambda: len(fleet.selected()) == OTHERS + 1, within_s=30, what="the others are made", every_s=0.2
            )
            made_s = time.monotonic() - begin
            eventually(lambda: condition(fleet, "Stalled"), within_s=75, what="it is told", last=operator.tail)
            stalled_s = time.monotonic() - begin
            print(f"\n{OTHERS} others made after {made_s:.1f} s, Stalled after {stalled_s:.1f} s")
            assert condition(fleet, "Stalled")["reason"] == "ReconcileFailed"
            assert "the fault proxy answers 500" in condition(fleet, "Stalled")["message"]
            assert condition(fleet, "ConfigValid")["status"] == "True"
            assert condition(fleet, "Available")["status"] == "True", "what serves goes on serving"
            assert fleet.selected()["ill"] == serving
        fleet.wanted["ill"] = ill
        fleet.settle(30)
        assert condition(fleet, "Stalled") == {}
