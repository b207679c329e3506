"""What admission made of pods, in words."""

from dataclasses import replace

import pytest

from llmfleet.decide.admission import changed_on_admission
from llmfleet.observe.views import EnginePart, RevisionView, Snapshot
from tests.unit.worlds import child, deployment, pod, snapshot

ASKED = EnginePart("ours:1", "a", "e", (("limits.memory", "64Gi"), ("requests.cpu", "8")), ("engine",))


def world(*got: EnginePart) -> Snapshot:
    remembered = RevisionView(**child("ControllerRevision", "r"), number=1, packed=b"", engine=ASKED)
    pods = tuple(pod("r", number, engine=engine) for number, engine in enumerate(got))
    return replace(snapshot(deployments=(deployment("r"),), pods=pods), revisions={"r": remembered})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, ()),
        ({"image": "mirror/ours:1"}, ("image mirror/ours:1 (asked: ours:1)",)),
        ({"arguments": "b"}, ("other arguments",)),
        ({"environment": "f"}, ("another environment",)),
        ({"containers": ("engine", "istio-proxy")}, ("container istio-proxy",)),
        (
            {"resources": (("limits.cpu", "4"), ("limits.memory", "1Gi"), ("requests.cpu", "8"))},
            ("resources.limits.cpu 4 (asked: none)", "resources.limits.memory 1Gi (asked: 64Gi)"),
        ),
    ],
    ids=["nothing", "image", "arguments", "environment", "sidecar", "LimitRange"],
)
def test_what_decides_how_the_engine_runs_is_named(change: dict, words: tuple[str, ...]) -> None:
    assert changed_on_admission(world(replace(ASKED, **change)), "r") == words


def test_each_thing_is_told_once_for_all_pods() -> None:
    changed = replace(ASKED, arguments="b")
    assert changed_on_admission(world(changed, changed, ASKED), "r") == ("other arguments",)


def test_without_a_template_there_is_nothing_to_compare() -> None:
    assert changed_on_admission(replace(world(replace(ASKED, image="x")), revisions={}), "r") == ()
