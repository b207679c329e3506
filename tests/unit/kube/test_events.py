import asyncio
import datetime as dt
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from llmfleet.kube.events import Recorder, Regarding
from tests.unit.kube.fake_api import FakeApi, answer, hang, status

NOW = dt.datetime(2026, 11, 21, 12, 0, tzinfo=dt.UTC)
CHAT = Regarding("llmfleet.dev/v1alpha1", "LLMDeployment", "a", "chat", "uid-1")


def after(seconds: float) -> dt.datetime:
    return NOW + dt.timedelta(seconds=seconds)


@asynccontextmanager
async def recorder(api: FakeApi) -> AsyncIterator[Recorder]:
    async with api.serve() as client:
        made = Recorder(client, instance="operator-0")
        running = asyncio.create_task(made.run())
        yield made
        assert not running.done()
        running.cancel()
        await asyncio.wait([running])


def events(api: FakeApi) -> list[dict[str, Any]]:
    return [obj for path, obj in api.objects.items() if "/events/" in path]


async def test_an_event_says_what_about_whom_and_since_when() -> None:
    api = FakeApi()
    async with recorder(api) as made:
        made.event(CHAT, "Warning", "Stalled", "engine fails: no GPU", now=NOW)
        await made.drain(8)
    (event,) = events(api)
    assert event["metadata"]["namespace"] == "a"
    assert event["metadata"]["name"].startswith("chat.")
    assert event["involvedObject"] == {
        "apiVersion": "llmfleet.dev/v1alpha1",
        "kind": "LLMDeployment",
        "namespace": "a",
        "name": "chat",
        "uid": "uid-1",
    }
    assert (event["type"], event["reason"], event["message"]) == ("Warning", "Stalled", "engine fails: no GPU")
    assert (event["count"], event["firstTimestamp"], event["lastTimestamp"]) == (
        1,
        "2026-11-21T12:00:00Z",
        "2026-11-21T12:00:00Z",
    )
    assert (event["reportingComponent"], event["reportingInstance"]) == ("llmfleet", "operator-0")


async def test_repeats_collapse_for_two_minutes_and_are_counted_afterwards() -> None:
    api = FakeApi()
    async with recorder(api) as made:
        for second in (0, 1, 60, 119):
            made.event(CHAT, "Normal", "Ready", "4/4", now=after(second))
            await made.drain(8)
        assert [method for method, _, _ in api.requests] == ["POST"]
        made.event(CHAT, "Normal", "Ready", "4/4", now=after(121))
        await made.drain(8)
    (event,) = events(api)
    assert (event["count"], event["firstTimestamp"], event["lastTimestamp"]) == (
        5,
        "2026-11-21T12:00:00Z",
        "2026-11-21T12:02:01Z",
    )


async def test_what_an_earlier_process_said_is_counted_on() -> None:
    api = FakeApi()
    for _ in range(2):
        async with recorder(api) as made:
            made.event(CHAT, "Normal", "Ready", "4/4", now=NOW)
            await made.drain(8)
    (event,) = events(api)
    assert event["count"] == 2


async def test_an_event_that_expired_is_written_anew() -> None:
    api = FakeApi()
    async with recorder(api) as made:
        made.event(CHAT, "Normal", "Ready", "4/4", now=NOW)
        await made.drain(8)
        (path,) = api.objects
        await api.remove(path)
        made.event(CHAT, "Normal", "Ready", "4/4", now=after(4000))
        await made.drain(8)
    (event,) = events(api)
    assert event["count"] == 2


async def test_other_sentences_and_other_objects_have_other_names() -> None:
    api = FakeApi()
    async with recorder(api) as made:
        made.event(CHAT, "Normal", "Ready", "4/4", now=NOW)
        made.event(CHAT, "Normal", "Ready", "3/4", now=NOW)
        made.event(CHAT, "Normal", "Scaled", "4/4", now=NOW)
        made.event(Regarding("v1", "Pod", "b", "p" * 253, "uid-2"), "Normal", "Ready", "4/4", now=NOW)
        await made.drain(8)
    assert len(events(api)) == 4
    pod = events(api)[-1]
    assert pod["metadata"]["namespace"] == pod["involvedObject"]["namespace"] == "b"
    assert len(pod["metadata"]["name"]) <= 253


async def test_a_noisy_object_is_limited_and_does_not_silence_others() -> None:
    api = FakeApi()
    async with recorder(api) as made:
        for number in range(30):
            made.event(CHAT, "Normal", "Noise", f"message {number}", now=NOW)
        assert made.dropped == 20
        made.event(Regarding("v1", "Pod", "a", "quiet", "uid-2"), "Normal", "Ready", "4/4", now=NOW)
        made.event(CHAT, "Normal", "Noise", "later", now=after(21))
        made.event(CHAT, "Normal", "Noise", "later again", now=after(22))
        await made.drain(8)
    assert made.dropped == 21
    assert len(events(api)) == 12


async def test_failures_are_logged_once_and_nothing_is_raised(caplog: pytest.LogCaptureFixture) -> None:
    api = FakeApi()
    refusal = status(403, "Forbidden", "namespace a is being terminated")
    api.fail("POST", *[answer(403, refusal)] * 3)
    async with recorder(api) as made:
        with caplog.at_level(logging.WARNING):
            for number in range(4):
                made.event(CHAT, "Normal", "Ready", str(number), now=NOW)
            await made.drain(8)
    assert made.dropped == 3
    assert len(events(api)) == 1
    assert len(caplog.records) == 1
    assert "being terminated" in caplog.text


async def test_a_slow_server_blocks_nobody_and_the_queue_is_bounded() -> None:
    api = FakeApi()
    api.fail("POST", hang)
    async with recorder(api) as made:
        for number in range(2500):
            made.event(Regarding("v1", "Pod", "a", "p", f"uid-{number}"), "Normal", "Ready", "4/4", now=NOW)
        assert made.dropped == 500
        async with asyncio.timeout(8):
            await made.drain(0.05)


async def test_memory_is_bounded() -> None:
    async with recorder(FakeApi()) as made:
        for number in range(12_000):
            made.event(Regarding("v1", "Pod", "a", "p", f"uid-{number}"), "Normal", "Ready", "4/4", now=NOW)
        assert len(made._said) == len(made._buckets) == 10_000


async def test_a_recovery_is_told_again_however_soon_after_the_last_one() -> None:
    api = FakeApi()
    async with recorder(api) as made:
        for second, kind, reason in [(0, "Normal", "AllReady"), (40, "Warning", "NoReadyEngine")] * 2:
            made.event(CHAT, kind, reason, "as it is", now=after(second))
            await made.drain(8)
        made.event(CHAT, "Normal", "AllReady", "as it is", now=after(46))
        await made.drain(8)
        made.event(CHAT, "Normal", "AllReady", "as it is", now=after(47))
        await made.drain(8)
    last = {event["reason"]: event["lastTimestamp"] for event in events(api)}
    assert last == {"AllReady": "2026-11-21T12:00:46Z", "NoReadyEngine": "2026-11-21T12:00:40Z"}
