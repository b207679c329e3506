"""What the tests of faults call harm: a judge that overlooks something makes them prove nothing."""

from collections import Counter
from typing import Any

import pytest

from tests.api.faults.fleet import harm
from tests.api.faults.proxy import Asked, Written


def write(plural: str, name: str, body: Any = None, *, ready: dict[str, int] | None = None) -> Written:
    method = "DELETE" if body is None else "PATCH"
    asked = Asked("operator", method, "", {}, body, plural, "team", name, "")
    return Written(asked, 0.0, 200, seen=Counter(ready or {}))


def run(revision: str, replicas: int = 2, **annotations: str) -> Written:
    noted = {f"llmfleet.dev/{name.replace('_', '-')}": text for name, text in annotations.items()}
    return write(
        "deployments", f"chat-{revision}", {"metadata": {"annotations": noted}, "spec": {"replicas": replicas}}
    )


def point(revision: str, **ready: int) -> Written:
    return write("services", "chat", {"spec": {"selector": {"llmfleet.dev/revision": revision}}}, ready=ready)


SWITCH = [run("old"), point("old"), run("new"), point("new", old=2, new=2), run("old", retired_at="now")]


@pytest.mark.parametrize(
    "written",
    [
        [*SWITCH, write("poddisruptionbudgets", "chat-old"), write("deployments", "chat-old")],
        [run("old"), point("old"), run("new"), point("new", new=1)],
    ],
    ids=["a switch", "one engine is better than none"],
)
def test_what_is_as_it_should_be_is_no_harm(written: list[Written]) -> None:
    assert harm(written, {}) == []


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ([run("old"), run("new"), point("new", old=2)], "0 of 2 ready"),
        ([run("old"), point("new", old=2)], "0 of 0 ready"),
        ([run("old"), run("new"), point("new", old=2, new=1)], "1 of 2 ready"),
        ([run("old", 3), run("old", 1)], "it serves and is scaled down to 1"),
        ([run("old", 0)], "it serves and is scaled down to 0"),
        ([run("old", retired_at="now")], "it serves and is retired"),
        ([write("deployments", "chat-old")], "it serves"),
        ([write("services", "chat")], "never to be deleted by us"),
    ],
    ids=str,
)
def test_harm_is_found(written: list[Written], why: str) -> None:
    (found,) = harm(written, {"chat": "old"})
    assert why in found
