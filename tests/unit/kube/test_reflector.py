import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from llmfleet.kube.client import Client
from llmfleet.kube.errors import Forbidden
from llmfleet.kube.reflector import Key, Reflector
from llmfleet.kube.resources import RESOURCES
from tests.unit.kube.fake_api import FakeApi, answer, gone, hang, hang_up, status, until

A = "/api/v1/namespaces/a/pods"
B = "/api/v1/namespaces/b/pods"
Change = tuple[Key, Any, Any]


def value_of(obj: dict[str, Any]) -> Any:
    """Keep an object's value; what is odd cannot be read."""
    if obj.get("value") == "odd":
        raise AttributeError("'str' object has no attribute 'get'")
    return obj.get("value")


class World:
    """A fake API server and a reflector of it; `changes` is what was reported."""

    def __init__(self, api: FakeApi, client: Client, kind: str, namespaces: list[str] | None, silence_s: float) -> None:
        self.api = api
        self.changes: list[Change] = []
        self.reflector: Reflector[Any] = Reflector(
            client,
            RESOURCES[kind],
            namespaces=namespaces,
            label_selector="x=y",
            trim=value_of,
            on_change=lambda key, old, new: self.changes.append((key, old, new)),
            silence_s=silence_s,
            backoff_s=(0.02, 0.1),
        )

    async def watching(self, times: int) -> None:
        """Wait until a watch was opened for the n-th time and stands."""
        await until(lambda: len(self.api.asked("WATCH")) >= times and self.api.watches, f"watch number {times}")

    async def synced(self) -> None:
        await until(self.reflector.synced.is_set, "the first listing")

    async def shows(self, **values: Any) -> None:
        """Wait until the store holds exactly these pods of namespace `a`."""
        expected = {("a", name): value for name, value in values.items()}
        await until(lambda: self.reflector.store == expected, f"{expected}")


@asynccontextmanager
async def world(
    api: FakeApi | None = None,
    *,
    kind: str = "Pod",
    namespaces: list[str] | None = None,
    silence_s: float = 5.0,
    **pods: Any,
) -> AsyncIterator[World]:
    """Run a reflector against a fake API server that holds these pods in namespace `a`."""
    api = api or FakeApi()
    for name, content in pods.items():
        await api.put(A, name, value=content)
    async with api.serve() as client:
        made = World(api, client, kind, namespaces, silence_s)
        running = asyncio.create_task(made.reflector.run())
        try:
            yield made
            assert not running.done(), "run() ended by itself"
        finally:
            running.cancel()
            await asyncio.wait([running])


async def test_lists_then_follows_every_kind_of_change() -> None:
    async with world(p=1) as here:
        await here.synced()
        assert here.reflector.store == {("a", "p"): 1}
        await here.api.put(A, "q", value=2)
        await here.api.put(A, "p", value=3)
        await here.api.remove(f"{A}/q")
        await here.shows(p=3)
        assert here.changes == [
            (("a", "p"), None, 1),
            (("a", "q"), None, 2),
            (("a", "p"), 1, 3),
            (("a", "q"), 2, None),
        ]
        assert here.api.asked("LIST") == [{"labelSelector": "x=y", "limit": "500"}]
        assert here.api.asked("WATCH")[0]["allowWatchBookmarks"] == "true"


async def test_a_change_outside_of_what_is_kept_is_not_reported() -> None:
    async with world(p=1) as here:
        await here.watching(1)
        await here.api.put(A, "p", value=1, other="changed")
        await here.api.put(A, "last", value=1)
        await here.shows(p=1, last=1)
        assert here.changes == [(("a", "p"), None, 1), (("a", "last"), None, 1)]


async def test_a_dropped_connection_resumes_where_it_was_without_a_new_list() -> None:
    async with world(p=1) as here:
        await here.watching(1)
        await here.api.put(A, "p", value=2)
        await here.shows(p=2)
        version = str(here.api.version)
        here.api.cut_watches()
        await here.api.put(A, "q", value=1)
        await here.shows(p=2, q=1)
        assert here.api.asked("WATCH")[-1]["resourceVersion"] == version
        assert len(here.api.asked("LIST")) == 1


async def test_bookmarks_move_the_version_on_so_that_old_history_is_not_needed() -> None:
    async with world(p=1) as here:
        await here.watching(1)
        await here.api.bookmark()
        await here.api.put(B, "other", value=1)
        await until(lambda: ("b", "other") in here.reflector.store, "the other pod")
        here.api.forget_history()
        here.api.cut_watches()
        await here.watching(2)
        assert len(here.api.asked("LIST")) == 1


async def test_what_vanished_while_away_is_reported_as_deleted() -> None:
    async with world(stays=1, vanishes=2) as here:
        await here.watching(1)
        here.api.fail("WATCH", hang_up)
        here.api.cut_watches()
        await here.api.remove(f"{A}/vanishes")
        await here.api.put(A, "comes", value=3)
        here.api.forget_history()
        await here.shows(stays=1, comes=3)
        assert here.changes[-2:] == [(("a", "comes"), None, 3), (("a", "vanishes"), 2, None)]


async def test_410_inside_the_stream_lists_anew() -> None:
    async with world(p=1) as here:
        await here.watching(1)
        del here.api.objects[f"{A}/p"]
        line = json.dumps({"type": "ERROR", "object": status(410, "Expired", "too old resource version: 1 (2)")})
        await here.api.send_raw(line.encode() + b"\n")
        await here.shows()
        assert here.changes[-1] == (("a", "p"), 1, None)


async def test_410_between_two_pages_falls_back_to_one_large_answer() -> None:
    api = FakeApi()
    for number in range(501):
        await api.put(A, f"p{number:03}", value=number)
    api.fail("LIST", answer(200, json.dumps(api._list(A, {"limit": "500"}))), gone())
    async with world(api) as here:
        await here.synced()
        assert len(here.reflector.store) == 501
    assert [query.get("limit") for query in api.asked("LIST")] == ["500", "500", None]


@pytest.mark.parametrize(
    "garbage",
    [b"{not json}\n", b'"text"\n', b'{"type": "ADDED"}\n', b'{"type": "ADDED", "object": {}}\n', b"\xff\xfe\n"],
)
async def test_a_malformed_line_reconnects(garbage: bytes) -> None:
    async with world(p=1) as here:
        await here.watching(1)
        await here.api.send_raw(garbage)
        await here.watching(2)
        await here.api.put(A, "p", value=2)
        await here.shows(p=2)
        assert len(here.api.asked("LIST")) == 1


async def test_an_object_that_cannot_be_read_is_named_once_and_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    api = FakeApi()
    await api.put(A, "odd", value="odd")
    async with world(api, known=1) as here:
        await here.watching(1)
        await here.shows(known=1)
        await api.put(A, "known", value="odd")
        await api.put(A, "next", value=2)
        await here.shows(known=1, next=2)
        api.fail("WATCH", gone())
        api.cut_watches()
        await here.watching(3)
        await here.shows(known=1, next=2)
        await api.put(A, "known", value=3)
        await api.put(A, "odd", value=4)
        await here.shows(known=3, next=2, odd=4)
        await api.remove(f"{A}/odd")
        await here.shows(known=3, next=2)
    assert [record.getMessage() for record in caplog.records if record.exc_info] == [
        "Pod a/odd cannot be read and is left out of account",
        "Pod a/known cannot be read and is left out of account",
    ]


async def test_half_a_line_at_the_end_is_not_an_event() -> None:
    async with world(p=1) as here:
        await here.watching(1)
        await here.api.send_raw(
            b'{"type":"DELETED","object":{"metadata":{"name":"p","namespace":"a","resourceVersion":"9"}}}'
        )
        await here.api.end_watches()
        await here.watching(2)
        assert here.reflector.store == {("a", "p"): 1}


async def test_an_event_larger_than_any_buffer_arrives() -> None:
    async with world() as here:
        await here.watching(1)
        await here.api.put(A, "big", value="x" * 3_000_000)
        await until(lambda: here.reflector.store, "the big pod")
        assert len(here.reflector.store["a", "big"]) == 3_000_000


async def test_an_error_event_of_another_code_reconnects() -> None:
    async with world(p=1) as here:
        await here.watching(1)
        await here.api.send_raw(
            json.dumps({"type": "ERROR", "object": status(500, "InternalError", "etcd")}).encode() + b"\n"
        )
        await here.watching(2)


async def test_a_silent_connection_is_given_up() -> None:
    async with world(silence_s=0.1, p=1) as here:
        await here.watching(2)
        await here.api.put(A, "p", value=2)
        await here.shows(p=2)
        assert len(here.api.asked("LIST")) == 1


async def test_a_server_that_ends_every_watch_at_once_is_not_hammered() -> None:
    async with world(p=1) as here:
        here.api.fail("WATCH", *[answer(200, "")] * 100)
        await here.synced()
        await asyncio.sleep(0.5)
        # 0.02 s doubled up to 0.1 s, at least half of each: not more than a dozen and a half in half a second.
        assert 2 <= len(here.api.asked("WATCH")) <= 18


async def test_refused_access_is_retried_shown_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    refusal = status(403, "Forbidden", 'pods is forbidden: User "x" cannot list')
    api = FakeApi()
    api.fail("LIST", *[answer(403, refusal)] * 5)
    async with world(api) as here:
        await until(lambda: here.reflector.last_error, "the refusal")
        assert isinstance(here.reflector.last_error, Forbidden)
        assert not here.reflector.synced.is_set()
        assert here.reflector.age_s() == float("inf")
        await here.synced()
        await until(lambda: here.reflector.last_error is None, "the error to be over")
    assert [record.message for record in caplog.records] == [f"pods in all namespaces: {refusal['message']}"]


async def test_several_namespaces_are_synced_only_together_and_replaced_apart() -> None:
    api = FakeApi()
    await api.put(A, "p", value=1)
    await api.put(B, "q", value=2)
    api.fail("LIST", hang)
    async with world(api, namespaces=["a", "b"]) as here:
        await until(lambda: here.reflector.store, "one of the two namespaces")
        assert not here.reflector.synced.is_set()
        await here.synced()
        assert here.reflector.store == {("a", "p"): 1, ("b", "q"): 2}
        await until(lambda: api.watches == 2, "both watches")
        await api.remove(f"{A}/p")
        await until(lambda: here.reflector.store == {("b", "q"): 2}, "the deletion")
        api.fail("WATCH", gone())
        api.cut_watches()
        await until(lambda: len(api.asked("LIST")) == 4, "a new listing of one namespace")
        await here.watching(5)
        assert here.reflector.store == {("b", "q"): 2}


async def test_the_namespaces_that_refuse_are_known_whatever_else_fails() -> None:
    api = FakeApi()
    api.fail("LIST", hang_up, answer(403, status(403, "Forbidden", "pods is forbidden")))
    async with world(api, namespaces=["a", "b", "c"]) as here:
        await until(lambda: len(here.reflector.refused) == 1, "the refusal beside another error")
        await here.synced()
        await until(lambda: not here.reflector.refused, "the refusal to be over")


async def test_no_namespaces_means_nothing_to_wait_for() -> None:
    async with FakeApi().serve() as client:
        here = World(FakeApi(), client, "Pod", [], 5.0)
        await here.reflector.run()
    assert here.reflector.synced.is_set()
    assert here.reflector.age_s() == 0


async def test_age_counts_from_the_last_sign_of_life() -> None:
    async with world(p=1) as here:
        await here.watching(1)
        await asyncio.sleep(0.1)
        assert 0.1 <= here.reflector.age_s() < 5
        await here.api.bookmark()
        await until(lambda: here.reflector.age_s() < 0.09, "a younger age")
