"""Remembered digests: the same as computed anew, whatever changed meanwhile."""

import copy
from typing import Any

import pytest

from llmfleet.kube.ownership import OwnedDigests, digest, owned_fields


def deployment() -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": "chat",
            "resourceVersion": "1",
            "labels": {"ours": "a", "theirs": "b"},
            "managedFields": [
                {
                    "manager": "llmfleet",
                    "operation": "Apply",
                    "fieldsV1": {"f:metadata": {"f:labels": {"f:ours": {}}}, "f:spec": {"f:replicas": {}}},
                },
                {"manager": "controller", "operation": "Update", "subresource": "status", "fieldsV1": {"f:status": {}}},
            ],
        },
        "spec": {"replicas": 2},
        "status": {"replicas": 0},
    }


def of_status(obj: dict[str, Any]) -> None:
    obj["status"]["replicas"] = 2
    obj["metadata"]["resourceVersion"] = "2"


def of_our_field(obj: dict[str, Any]) -> None:
    obj["spec"]["replicas"] = 5


def of_ownership(obj: dict[str, Any]) -> None:
    del obj["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"]
    obj["metadata"]["managedFields"].append(
        {
            "manager": "kubectl",
            "operation": "Update",
            "subresource": "scale",
            "fieldsV1": {"f:spec": {"f:replicas": {}}},
        }
    )


def of_a_foreign_field(obj: dict[str, Any]) -> None:
    obj["metadata"]["labels"]["theirs"] = "c"


@pytest.mark.parametrize(
    ("change", "ours"), [(of_status, False), (of_our_field, True), (of_ownership, True), (of_a_foreign_field, False)]
)
def test_a_change_shows_exactly_if_it_is_of_what_we_own(change: Any, *, ours: bool) -> None:
    digests, before = OwnedDigests("llmfleet"), deployment()
    first = digests.of(before)
    assert first == digest(owned_fields(before))
    after = copy.deepcopy(before)
    change(after)
    assert digests.of(after) == digest(owned_fields(after))
    assert (digests.of(after) != first) == ours
    assert digests.of(before) == first
