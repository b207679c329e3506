"""What is missing in the cluster is told by the field that names it, with the remedy."""

import pytest

from llmfleet.api.deployment import Spec
from llmfleet.api.reasons import Reason
from llmfleet.decide.health import health
from llmfleet.decide.missing import missing
from tests.unit.worlds import deployment, pod, snapshot, stored_spec

SPEC = Spec.model_validate(
    {
        "model": {
            "source": "pvc://models/tiny",
            "tokenSecret": {"name": "hf"},
            "cache": {"kind": "PVC", "claimName": "kernels"},
            "adapters": [{"name": "legal", "source": "pvc://adapters/legal"}],
        },
        "engine": {
            "speculative": {"draftModel": "pvc://drafts/small", "tokens": 3},
            "env": [
                {"name": "PROXY", "valueFrom": {"configMapKeyRef": {"name": "proxy", "key": "url"}}},
                {"name": "LICENCE", "valueFrom": {"secretKeyRef": {"name": "licence", "key": "text"}}},
            ],
        },
        "podTemplate": {
            "serviceAccountName": "engine",
            "priorityClassName": "high",
            "runtimeClassName": "nvidia",
            "volumes": [
                {"name": "a", "emptyDir": {}},
                {"name": "b", "persistentVolumeClaim": {"claimName": "extra"}},
                {"name": "c", "secret": {"secretName": "certificates"}},
            ],
        },
    }
)


@pytest.mark.parametrize(
    ("said", "field", "remedy"),
    [
        ('secret "hf" not found', "spec.model.tokenSecret ", "create Secret hf in this namespace"),
        ('secret "licence" not found', "spec.engine.env[LICENCE].valueFrom.secretKeyRef ", "create Secret licence"),
        ("couldn't find key token in Secret team/hf", "spec.model.tokenSecret ", "add token to Secret hf"),
        ('configmap "proxy" not found', "spec.engine.env[PROXY].valueFrom.configMapKeyRef ", "create ConfigMap proxy"),
        ("couldn't find key url in ConfigMap team/proxy", "spec.engine.env[PROXY]", "add url to ConfigMap proxy"),
        (
            '0/2 nodes are available: persistentvolumeclaim "models" not found. not found.',
            "spec.model.source ",
            "create PersistentVolumeClaim models",
        ),
        ('persistentvolumeclaim "kernels" not found', "spec.model.cache.claimName ", "create"),
        ('persistentvolumeclaim "adapters" not found', "spec.model.adapters[legal].source ", "create"),
        ('persistentvolumeclaim "drafts" not found', "spec.engine.speculative.draftModel ", "create"),
        ('persistentvolumeclaim "extra" not found', "spec.podTemplate.volumes[1] ", "create"),
        (
            'MountVolume.SetUp failed for volume "c" : secret "certificates" not found',
            "spec.podTemplate.volumes[2] ",
            "create Secret certificates in this namespace",
        ),
        (
            'pods "x" is forbidden: error looking up service account team/engine: serviceaccount "engine" not found',
            "spec.podTemplate.serviceAccountName ",
            "create ServiceAccount engine in this namespace",
        ),
        (
            'pods "x" is forbidden: no PriorityClass with name high was found',
            "spec.podTemplate.priorityClassName ",
            "create PriorityClass high in the cluster",
        ),
        (
            'pods "x" is forbidden: pod rejected: RuntimeClass "nvidia" not found',
            "spec.podTemplate.runtimeClassName ",
            "create RuntimeClass nvidia in the cluster",
        ),
    ],
)
def test_the_field_is_named_with_the_remedy(said: str, field: str, remedy: str) -> None:
    told = missing(SPEC, said)
    assert told.startswith(field)
    assert remedy in told


@pytest.mark.parametrize(
    "said",
    [
        "",
        "0/2 nodes are available: 2 Insufficient cpu.",
        'secret "other" not found',
        'persistentvolumeclaim "x" is lost',
    ],
)
def test_what_the_spec_does_not_name_is_not_explained(said: str) -> None:
    assert missing(SPEC, said) == ""


def test_a_missing_claim_is_no_want_of_room() -> None:
    spec = stored_spec("pvc://models/x")
    world = snapshot(spec)
    said = '0/1 nodes are available: persistentvolumeclaim "models" not found.'
    waiting = pod(world.revision, scheduled_at=None, unschedulable=said, running=False)
    world = snapshot(spec, deployments=(deployment(world.revision),), pods=(waiting,))
    problem = health(world, world.revision).problem
    assert problem is not None
    assert problem.reason is Reason.CONFIG_MISSING
    assert problem.message.startswith('PersistentVolumeClaim "models" not found; spec.model.source names it')
    assert "spec.model.source" in problem.message
