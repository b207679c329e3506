"""One object's reconciles in a row: how long it waits, and when its status is written."""

import json
import logging
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, cast

import pytest

from llmfleet.api.reasons import Reason
from llmfleet.control.cache import Cache, Key
from llmfleet.control.executor import Executor, Outcome, PredecessorLeaving
from llmfleet.control.logs import JsonFormatter
from llmfleet.control.metrics import Metrics
from llmfleet.control.reconcile import Reconciler
from llmfleet.kube.client import Client
from llmfleet.kube.events import Recorder
from llmfleet.observe.views import Refusal
from tests.unit.worlds import NOW, UID, stored_spec

KEY: Key = ("team", "chat")


class Api:
    """Takes every status."""

    def __init__(self) -> None:
        self.version = 1
        self.statuses: list[Mapping[str, Any]] = []

    async def apply(self, obj: Mapping[str, Any], **_: object) -> dict[str, Any]:
        self.version += 1
        self.statuses.append(obj["status"])
        return {"metadata": {"resourceVersion": str(self.version)}}


class Carrying:
    """Plays the executor: nothing is to be written, unless something is in the way."""

    def __init__(self, leaving: PredecessorLeaving | None = None) -> None:
        self.leaving = leaving
        self.altered = ""
        self.refusal: Refusal | None = None

    async def carry_out(self, *_: object) -> Outcome:
        if self.leaving is not None:
            raise self.leaving
        return Outcome((), self.refusal, altered=(self.altered,))

    def outdated(self, *_: object) -> bool:
        return False


class Clocks:
    """The time of day, which people and NTP set, and seconds that only go on."""

    def __init__(self) -> None:
        self.day, self.seconds = NOW, 0.0

    def now(self) -> datetime:
        return self.day

    def monotonic(self) -> float:
        return self.seconds


def reconciler(api: Api, carrying: Carrying, clocks: Clocks) -> Reconciler:
    client = cast("Client", api)
    cache = Cache(client, None, lambda _: None, lambda _: None)
    metadata = {"namespace": "team", "name": "chat", "uid": UID, "generation": 1, "resourceVersion": "1"}
    cache.put({"metadata": metadata, "spec": stored_spec()})
    recorder = Recorder(client, instance="test")
    return Reconciler(
        client,
        cache,
        cast("Executor", carrying),
        recorder,
        Metrics(),
        clock=clocks.now,
        monotonic=clocks.monotonic,
    )


async def test_a_name_that_is_held_for_days_is_looked_at_every_20_s() -> None:
    held = Carrying(PredecessorLeaving("Service chat of the LLMDeployment before is still there"))
    reconciling = reconciler(Api(), held, Clocks())
    waits = [(await reconciling.reconcile(KEY)).again_s for _ in range(1100)]
    assert waits[:6] == [1, 2, 4, 8, 16, 20]
    assert set(waits[6:]) == {20}


async def test_other_words_wait_15_s_also_where_the_clock_is_set_back_meanwhile() -> None:
    api, carrying, clocks = Api(), Carrying(), Clocks()
    reconciling = reconciler(api, carrying, clocks)
    await reconciling.reconcile(KEY)
    clocks.day -= timedelta(hours=1)
    clocks.seconds += 5
    carrying.altered = "Other words."
    assert (await reconciling.reconcile(KEY)).again_s == 10
    clocks.seconds += 10
    assert (await reconciling.reconcile(KEY)).again_s is None
    assert "Other words." in str(api.statuses[-1])
    assert len(api.statuses) == 2


async def test_every_change_of_state_is_logged_once_with_its_reason(caplog: pytest.LogCaptureFixture) -> None:
    carrying, clocks = Carrying(), Clocks()
    reconciling = reconciler(Api(), carrying, clocks)
    with caplog.at_level(logging.INFO, "llmfleet"):
        await reconciling.reconcile(KEY)
        clocks.seconds += 20
        carrying.altered = "Other words."
        await reconciling.reconcile(KEY)
        carrying.refusal = Refusal(Reason.NAME_TAKEN, "Service chat is somebody else's")
        await reconciling.reconcile(KEY)
    lines = [json.loads(JsonFormatter().format(record)) for record in caplog.records]
    assert [line["reason"] for line in lines] == ["Starting", "NameTaken"]
    assert lines[1]["message"].startswith("NameTaken: Not serving chat. Service chat is somebody else's.")
