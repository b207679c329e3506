import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from llmfleet.kube.client import Client
from llmfleet.kube.lease import Lease
from tests.unit.kube.fake_api import FakeApi, answer, hang, status, until

LEASES = "/apis/coordination.k8s.io/v1/namespaces/system/leases"
PATH = f"{LEASES}/llmfleet"
KIND = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease"}


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def lease(client: Client, identity: str = "me", clock: Clock | None = None, **times: Any) -> Lease:
    """Make a Lease that retries often; with a fake clock nothing expires by itself."""
    settings = {"duration_s": 8, "renew_deadline_s": 5.0, "retry_s": 0.02} | times
    return Lease(client, "llmfleet", "system", identity, clock=clock or Clock(), **settings)


def claim(identity: str | None, renewed: str = "2026-11-21T11:00:00.000000Z", **spec: Any) -> dict[str, Any]:
    holder = {"holderIdentity": identity} if identity is not None else {}
    return {**KIND, "spec": {**holder, "leaseDurationSeconds": 8, "renewTime": renewed, "leaseTransitions": 3, **spec}}


def holder(api: FakeApi) -> str | None:
    found: str | None = api.objects[PATH]["spec"].get("holderIdentity")
    return found


async def looks(api: FakeApi) -> None:
    """Wait until a standby has surely looked at the Lease as it is now."""
    seen = len(api.asked("GET"))
    await until(lambda: len(api.asked("GET")) >= seen + 2, "two looks at the Lease")


@asynccontextmanager
async def held(api: FakeApi, clock: Clock | None = None, **times: Any) -> AsyncIterator[Lease]:
    """Hold a Lease and have renewed it once."""
    async with api.serve() as client:
        made = lease(client, clock=clock, **times)
        await made.acquire()
        await until(lambda: api.asked("PUT"), "a renewal")
        yield made
        await made.release()


async def test_the_first_one_creates_it_renews_it_and_gives_it_up() -> None:
    api = FakeApi()
    async with held(api) as ours:
        assert ours.holds()
        spec = api.objects[PATH]["spec"]
        assert (spec["holderIdentity"], spec["leaseDurationSeconds"], spec["leaseTransitions"]) == ("me", 8, 0)
        assert spec["renewTime"] > spec["acquireTime"]
    assert holder(api) is None
    assert not ours.holds()
    assert not ours.lost.is_set()


@pytest.mark.parametrize("free", [claim(None), claim(""), {**KIND, "spec": {}}, KIND])
async def test_a_free_lease_is_taken_at_once(free: dict[str, Any]) -> None:
    api = FakeApi()
    await api.put(LEASES, "llmfleet", **free)
    async with api.serve() as client:
        ours = lease(client)
        await ours.acquire()
        assert holder(api) == "me"
        assert api.objects[PATH]["spec"]["leaseTransitions"] == (4 if free.get("spec") else 0)
        await ours.release()


async def test_another_who_renews_is_never_displaced_and_one_who_stopped_is_after_its_duration() -> None:
    api, clock = FakeApi(), Clock()
    await api.put(LEASES, "llmfleet", **claim("other", leaseDurationSeconds=20))
    async with api.serve() as client:
        ours = lease(client, clock=clock)
        acquiring = asyncio.create_task(ours.acquire())
        for second in range(5):
            await looks(api)
            clock.now += 19
            renewed = f"2026-11-21T11:00:{second:02}Z"
            await api.put(LEASES, "llmfleet", **claim("other", renewed, leaseDurationSeconds=20))
        # The last claim of the other is seen now and stands still from here on, by our clock.
        await looks(api)
        clock.now += 19.9
        await looks(api)
        assert holder(api) == "other"
        clock.now += 0.2
        async with asyncio.timeout(8):
            await acquiring
        assert holder(api) == "me"
        assert api.objects[PATH]["spec"]["leaseTransitions"] == 4
        await ours.release()


async def test_a_look_that_was_long_under_way_does_not_shorten_anothers_lease() -> None:
    api, clock = FakeApi(), Clock()
    await api.put(LEASES, "llmfleet", **claim("other", "2026-11-21T11:00:00Z"))

    async def late(request: web.Request) -> web.StreamResponse:
        clock.now += 4.9
        await api.put(LEASES, "llmfleet", **claim("other", "2026-11-21T11:00:05Z"))
        return await answer(200, api.objects[PATH])(request)

    async with api.serve() as client:
        ours = lease(client, clock=clock)
        api.fail("GET", late)
        acquiring = asyncio.create_task(ours.acquire())
        await looks(api)
        clock.now += 7.9
        await looks(api)
        assert holder(api) == "other", "it was renewed less than its duration ago"
        clock.now += 0.2
        async with asyncio.timeout(8):
            await acquiring
        await ours.release()


async def test_of_two_who_see_a_free_lease_one_gets_it() -> None:
    api = FakeApi()
    await api.put(LEASES, "llmfleet", **claim(None))
    async with api.serve() as client:
        both = [lease(client, identity) for identity in ("a", "b")]
        acquiring = [asyncio.create_task(one.acquire()) for one in both]
        await until(lambda: any(one.holds() for one in both), "a leader")
        winner = next(one for one in both if one.holds())
        other = next(one for one in both if one is not winner)
        await asyncio.sleep(0.1)
        assert [one.holds() for one in both].count(True) == 1
        await winner.release()
        async with asyncio.timeout(8):
            await asyncio.gather(*acquiring)
        assert other.holds()
        assert not winner.holds()
        await other.release()


async def test_trouble_while_acquiring_is_logged_once_and_retried(caplog: pytest.LogCaptureFixture) -> None:
    api = FakeApi()
    api.fail("GET", *[answer(403, status(403, "Forbidden", "leases is forbidden"))] * 5)
    async with api.serve() as client:
        ours = lease(client)
        with caplog.at_level(logging.WARNING):
            await ours.acquire()
        await ours.release()
    assert [record.message for record in caplog.records] == [
        "Lease system/llmfleet cannot be acquired: leases is forbidden"
    ]


async def test_it_is_lost_when_renewing_fails_past_the_deadline() -> None:
    api, clock = FakeApi(), Clock()
    async with held(api, clock) as ours:
        api.fail("PUT", *[answer(503, status(503, "ServiceUnavailable", "no etcd"))] * 10_000)
        clock.now += 4.9
        failed = len(api.asked("PUT"))
        await until(lambda: len(api.asked("PUT")) >= failed + 3, "failing renewals")
        assert ours.holds()
        assert not ours.lost.is_set()
        clock.now += 0.2
        async with asyncio.timeout(8):
            await ours.lost.wait()
        assert not ours.holds()
    assert holder(api) == "me", "what is lost is not given up: it may be another's"


async def test_a_swallowed_request_does_not_cost_the_lease() -> None:
    api = FakeApi()
    async with held(api, renew_deadline_s=0.4) as ours:
        renewals = len(api.asked("PUT"))
        api.fail("PUT", hang)
        await until(lambda: len(api.asked("PUT")) >= renewals + 3, "renewals after the swallowed one")
        assert ours.holds()
        assert not ours.lost.is_set()


async def test_it_is_lost_at_once_when_another_took_it(caplog: pytest.LogCaptureFixture) -> None:
    api = FakeApi()
    async with held(api) as ours:
        await api.put(LEASES, "llmfleet", **claim("thief"))
        async with asyncio.timeout(8):
            await ours.lost.wait()
        assert not ours.holds()
    assert holder(api) == "thief"
    assert "Lease system/llmfleet is lost: me leads no more" in caplog.text


async def test_a_changed_label_or_a_lost_answer_does_not_cost_the_lease() -> None:
    api = FakeApi()
    async with held(api) as ours:
        touched = api.objects[PATH]
        await api.put(LEASES, "llmfleet", **KIND, spec=touched["spec"], labels="changed")
        renewals = len(api.asked("PUT"))
        await until(lambda: len(api.asked("PUT")) >= renewals + 3, "further renewals")
        assert ours.holds()
        assert api.objects[PATH]["labels"] == "changed"


async def test_a_process_that_stood_still_knows_before_it_acts() -> None:
    api, clock = FakeApi(), Clock()
    async with held(api, clock) as ours:
        clock.now += 4.9
        assert ours.holds()
        assert not ours.holds(clock.now + 5)
        clock.now += 10
        # Not one turn of the event loop was needed to notice.
        assert not ours.holds()
        renewals = len(api.asked("PUT"))
        async with asyncio.timeout(8):
            await ours.lost.wait()
        assert len(api.asked("PUT")) <= renewals + 1, "only what was under way already"


async def test_a_renewal_counts_from_its_start() -> None:
    api, clock = FakeApi(), Clock()

    async def slow(request: web.Request) -> web.StreamResponse:
        clock.now += 4
        return await answer(200, api.objects[PATH])(request)

    async with held(api, clock) as ours:
        clock.now += 1
        started = clock.now
        api.fail("PUT", slow, hang)
        await until(lambda: ours._renewed_at == started and clock.now == started + 4, "the slow renewal's answer")
        assert ours.holds(started + 4.9)
        assert not ours.holds(started + 5)


async def test_release_survives_an_unreachable_server(caplog: pytest.LogCaptureFixture) -> None:
    api = FakeApi()
    async with held(api) as ours:
        api.fail("PUT", *[answer(503, status(503, "ServiceUnavailable", "no etcd"))] * 10)
        await ours.release()
        assert "is not released and expires by itself: no etcd" in caplog.text
        assert not ours.holds()


async def test_a_mistake_of_ours_in_renewing_counts_as_lost(caplog: pytest.LogCaptureFixture) -> None:
    async with held(FakeApi()) as ours:
        ours._lease = {"not": "a lease"}
        async with asyncio.timeout(8):
            await ours.lost.wait()
        assert not ours.holds()
    assert any(record.exc_info for record in caplog.records)


def test_the_durations_have_to_leave_a_margin() -> None:
    with pytest.raises(ValueError, match="duration > renew deadline > retry > 0"):
        lease(object(), duration_s=5)  # type: ignore[arg-type]
