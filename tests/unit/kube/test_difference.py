"""Fields that differ from what was applied, and whose they are."""

from llmfleet.kube.difference import Difference, differences

APPLIED = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "chat", "namespace": "team", "labels": {"a": "1"}},
    "spec": {
        "replicas": 2,
        "template": {"spec": {"containers": [{"name": "engine", "image": "x:1", "args": ["--a"]}]}},
    },
}


def live(**spec: object) -> dict:
    return {
        "metadata": {
            "name": "chat",
            "labels": {"a": "1", "b": "2"},
            "managedFields": [
                {"manager": "llmfleet", "fieldsV1": {"f:spec": {"f:template": {}}}},
                {
                    "manager": "hpa",
                    "fieldsV1": {
                        "f:spec": {
                            "f:replicas": {},
                            "f:template": {"f:spec": {"f:containers": {'k:{"name":"engine"}': {"f:image": {}}}}},
                        }
                    },
                },
            ],
        },
        "spec": {**APPLIED["spec"], **spec},
    }


def containers(**changes: object) -> dict:
    engine = {"name": "engine", "image": "x:1", "args": ["--a"], "imagePullPolicy": "Always", **changes}
    return {"spec": {"containers": [{"name": "sidecar"}, engine]}}


def test_what_others_add_is_no_difference() -> None:
    assert differences(APPLIED, live(template=containers(), paused=False), "llmfleet") == ()


def test_a_changed_field_is_named_with_its_manager() -> None:
    assert differences(APPLIED, live(replicas=5), "llmfleet") == (Difference("spec.replicas", "hpa"),)


def test_containers_are_told_by_their_names() -> None:
    (found,) = differences(APPLIED, live(template=containers(image="y:1")), "llmfleet")
    assert found == Difference("spec.template.spec.containers[engine].image", "hpa")


def test_a_field_that_only_we_own_was_changed_on_the_way_in() -> None:
    (found,) = differences(APPLIED, live(template=containers(args=["--b"])), "llmfleet")
    assert found == Difference("spec.template.spec.containers[engine].args", "")


def test_a_lost_item_and_a_lost_label_are_named() -> None:
    bare = live(template={"spec": {"containers": []}})
    bare["metadata"]["labels"] = {}
    paths = {found.path for found in differences(APPLIED, bare, "llmfleet")}
    assert paths == {"spec.template.spec.containers[engine]", "metadata.labels.a"}


def test_items_without_a_name_are_told_by_what_they_have_or_their_place() -> None:
    spread = [{"topologyKey": "zone", "maxSkew": 1}, {"topologyKey": "host", "maxSkew": 1}]
    rules = [{"verbs": ["get"]}, {"verbs": ["list"]}]
    applied = {"spec": {"spread": spread, "rules": rules}}
    same = {"spec": {"spread": spread, "rules": rules}, "metadata": {}}
    other = {"spec": {"spread": [spread[1], {**spread[0], "maxSkew": 2}], "rules": [rules[0], {"verbs": ["watch"]}]}}
    assert differences(applied, same, "llmfleet") == ()
    paths = [found.path for found in differences(applied, {**other, "metadata": {}}, "llmfleet")]
    assert paths == ["spec.spread[zone].maxSkew", "spec.rules[1].verbs"]
