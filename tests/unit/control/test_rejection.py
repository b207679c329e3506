"""A refusal of a Deployment is told in the fields of the LLMDeployment."""

import pytest

from llmfleet.api.deployment import Spec
from llmfleet.control.rejection import field_to_correct
from llmfleet.render.objects import Owner, deployment, revision_data
from llmfleet.render.profiles import Images

SPEC = Spec.model_validate(
    {
        "model": {"source": "pvc://models/x"},
        "podTemplate": {
            "tolerations": [{"operator": "Exists"}, {"operator": "Sometimes"}],
            "volumes": [{"name": "tmp", "emptyDir": {}}],
            "volumeMounts": [{"name": "nowhere", "mountPath": "/x"}],
        },
    }
)
OWNER = Owner("team", "chat", "uid")
DEPLOYMENT = deployment(
    OWNER, "abc", revision_data(OWNER, "abc", SPEC, Images("gpu", "cpu", "sim")), replicas=1, retired_at=None
)


@pytest.mark.parametrize(
    ("said", "field"),
    [
        (
            'spec.template.spec.tolerations[2].operator: Unsupported value: "S"',
            "spec.podTemplate.tolerations[1].operator",
        ),
        ('spec.template.spec.volumes[4].name: Duplicate value: "tmp"', "spec.podTemplate.volumes[0].name"),
        (
            "spec.template.spec.containers[0].volumeMounts[4].name: Not found",
            "spec.podTemplate.volumeMounts[0].name",
        ),
        (
            '.spec.template.spec.containers[name="engine"].volumeMounts: duplicate entries for key [mountPath="/x"]',
            "spec.podTemplate.volumeMounts",
        ),
        ("spec.template.spec.volumes[0].name: of ours", "spec.podTemplate.volumes"),
        (
            "spec.template.spec.affinity.nodeAffinity.x[0].weight: bad",
            "spec.podTemplate.affinity.nodeAffinity.x[0].weight",
        ),
        (
            ".spec.template.spec.securityContext.runAsUser: expected integer",
            "spec.podTemplate.securityContext.runAsUser",
        ),
        ('.spec.template.spec.volumes[name="a"].x: not declared', 'spec.podTemplate.volumes[name="a"].x'),
        ("spec.template.spec.containers[0].resources.limits[a/b]: bad", "spec.resources.limits[a/b]"),
        ("spec.template.metadata.labels: Invalid value", "spec.podTemplate.labels"),
    ],
)
def test_the_field_to_correct_is_told_as_the_user_counts(said: str, field: str) -> None:
    assert field_to_correct(SPEC, DEPLOYMENT, said) == field


@pytest.mark.parametrize("said", ["spec.replicas: bad", "exceeded quota", "spec.template.spec.volumesX: bad"])
def test_what_is_not_the_users_is_not_told_to_correct(said: str) -> None:
    assert field_to_correct(SPEC, DEPLOYMENT, said) == ""
