import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmfleet.kube.ownership import applied_fields, digest, owned_fields
from tests.unit.kube import ownership_cases

RECORDED = ownership_cases.read()


def test_every_case_was_recorded() -> None:
    assert [one.case for one in RECORDED] == [f"{obj['kind']}: {case}" for obj, case, _, _ in ownership_cases.CASES]


@pytest.mark.parametrize("one", RECORDED, ids=lambda one: one.case)
def test_digests_differ_exactly_when_an_owned_field_drifted(one: ownership_cases.Recorded) -> None:
    applied, owned = applied_fields(one.applied), owned_fields(one.live)
    assert (owned != applied) is one.drifted
    assert (digest(owned) != digest(applied)) is one.drifted


def managed(obj: dict[str, Any], *entries: dict[str, Any]) -> dict[str, Any]:
    return obj | {"metadata": obj.get("metadata", {}) | {"managedFields": list(entries)}}


def entry(fields: dict[str, Any], **other: Any) -> dict[str, Any]:
    return {"manager": "llmfleet", "operation": "Apply", "fieldsV1": fields} | other


SPEC = {"spec": {"replicas": 2}}
REPLICAS: dict[str, Any] = {"f:spec": {"f:replicas": {}}}


def test_only_our_applied_fields_of_the_object_itself_count() -> None:
    assert owned_fields(managed(SPEC, entry(REPLICAS))) == SPEC
    assert owned_fields(managed(SPEC, entry(REPLICAS, manager="other"))) == {}
    assert owned_fields(managed(SPEC, entry(REPLICAS, operation="Update"))) == {}
    assert owned_fields(managed(SPEC, entry(REPLICAS, subresource="scale"))) == {}
    assert owned_fields(managed(SPEC, entry(REPLICAS, manager="other")), manager="other") == SPEC
    assert owned_fields({"metadata": {}}) == owned_fields({}) == {}


def test_identity_is_no_field() -> None:
    identity = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "b", "uid": "c"}}
    assert applied_fields(identity) == {}
    assert applied_fields(identity | {"data": {"a": "b"}}) == {"data": {"a": "b"}}


@pytest.mark.parametrize("nothing", [None, False, 0, 0.0, "", [], {}])
def test_what_the_server_drops_is_one_and_the_same(nothing: object) -> None:
    fields = entry({"f:spec": {"f:a": {}, "f:b": {}}})
    applied = {"spec": {"a": nothing, "b": 1}}
    assert owned_fields(managed({"spec": {"b": 1}}, fields)) == applied_fields(applied)
    assert owned_fields(managed(applied, fields)) == applied_fields(applied)


def test_an_owned_field_that_is_empty_is_not_the_same_as_a_field_that_is_not_owned() -> None:
    assert digest(applied_fields({"spec": {"emptyDir": {}}})) != digest(applied_fields({"spec": {}}))


def test_lists_of_objects_have_no_order_and_lists_of_scalars_have() -> None:
    assert applied_fields({"ports": [{"port": 2}, {"port": 1}]}) == applied_fields(
        {"ports": [{"port": 1}, {"port": 2}]}
    )
    assert applied_fields({"args": ["b", "a"]}) != applied_fields({"args": ["a", "b"]})


def test_members_of_sets_and_indexed_items_are_found() -> None:
    live = {"metadata": {"finalizers": ["theirs", "ours"]}, "list": [10, 20]}
    fields = entry({"f:metadata": {"f:finalizers": {'v:"ours"': {}}}, "f:list": {"i:1": {}, "i:7": {}}})
    owned = owned_fields(managed(live, fields))
    assert owned == {"metadata": {"finalizers": ["ours"]}, "list": [20]}


def test_a_keyed_item_that_is_gone_is_left_out() -> None:
    live = {"ports": [{"port": 1}]}
    fields = entry({"f:ports": {'k:{"port":1}': {".": {}, "f:port": {}}, 'k:{"port":2}': {".": {}, "f:port": {}}}})
    assert owned_fields(managed(live, fields)) == {"ports": [{"port": 1}]}


def test_fields_below_a_value_that_became_a_scalar_do_not_break() -> None:
    assert owned_fields(managed({"spec": 3}, entry(REPLICAS))) == {"spec": None}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=20,
)


@given(st.dictionaries(st.text(max_size=3), JSON, max_size=4))
def test_normal_form_is_stable_and_digest_does_not_depend_on_the_order_of_keys(spec: dict[str, Any]) -> None:
    once = applied_fields({"spec": spec})
    assert applied_fields(copy.deepcopy(once)) == once
    backwards = {"spec": dict(reversed(spec.items()))}
    assert digest(applied_fields(backwards)) == digest(once)


def test_the_digest_never_changes_between_versions() -> None:
    assert digest({"spec": {"replicas": 2, "name": "zoë"}}) == "30a08a402c6ba89f"
