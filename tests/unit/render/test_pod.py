import pytest

from llmfleet.api.deployment import Spec
from llmfleet.render.objects import Owner, controller_revision, deployment, disruption_budget, revision_data, service
from llmfleet.render.pod import pod_template
from llmfleet.render.profiles import Images
from llmfleet_engine.options import parse
from tests.unit.worlds import NOW

IMAGES = Images(engine="registry/engine:1", engine_cpu="registry/engine-cpu:1", simulator="registry/sim:1")
OWNER = Owner(namespace="team", name="chat", uid="u-1")


def spec(**fields: object) -> Spec:
    return Spec.model_validate({"model": {"source": "hf://org/model"}, **fields})


def pod_of(**fields: object) -> dict:
    return pod_template("chat", "12345678", spec(**fields), IMAGES)["spec"]


def engine_of(**fields: object) -> dict:
    (container,) = pod_of(**fields)["containers"]
    return container


@pytest.mark.parametrize("profile", ["vllm", "sim"])
def test_every_engine_runs_restricted(profile: str) -> None:
    pod, container = pod_of(engine={"profile": profile}), engine_of(engine={"profile": profile})
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_an_engine_can_write_where_it_must_and_has_shared_memory() -> None:
    mounts = {mount["mountPath"] for mount in engine_of()["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod_of(resources={"sharedMemory": "8192Mi"})["volumes"]}
    assert mounts == {"/tmp", "/cache", "/dev/shm"}  # noqa: S108
    assert volumes["shm"]["emptyDir"] == {"medium": "Memory", "sizeLimit": "8Gi"}


@pytest.mark.parametrize(
    ("fields", "image", "gpus"),
    [
        ({}, "registry/engine:1", "1"),
        ({"engine": {"tensorParallelSize": 4, "pipelineParallelSize": 2}}, "registry/engine:1", "8"),
        ({"resources": {"gpu": {"count": 0}}}, "registry/engine-cpu:1", None),
        ({"engine": {"profile": "sim"}}, "registry/sim:1", None),
        ({"engine": {"image": "my/own@sha256:abc"}}, "my/own@sha256:abc", "1"),
    ],
    ids=["one GPU", "8 GPUs", "CPU", "simulator", "own image"],
)
def test_image_and_gpus_follow_from_the_spec(fields: dict, image: str, gpus: str | None) -> None:
    container = engine_of(**fields)
    assert container["image"] == image
    assert container["resources"].get("limits", {}).get("nvidia.com/gpu") == gpus
    assert bool(pod_of(**fields).get("tolerations")) == (gpus is not None)


def test_a_gpu_product_and_another_vendor() -> None:
    pod = pod_of(resources={"gpu": {"resourceName": "amd.com/gpu", "product": "MI300X"}})
    assert pod["nodeSelector"] == {"amd.com/gpu.product": "MI300X"}
    assert pod["tolerations"] == [{"key": "amd.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]


@pytest.mark.parametrize(
    ("gpu", "told"),
    [
        ({"resourceName": "amd.com/gpu"}, ["--gpus=1", "--gpu-resource=amd.com/gpu"]),
        ({"resourceName": "nvidia.com/mig-1g.10gb"}, ["--gpus=1", "--gpu-resource=nvidia.com/mig-1g.10gb"]),
        ({"resourceName": "nvidia.com/gpu"}, ["--gpus=1"]),  # launchers from before this option go on with it
        ({"resourceName": "amd.com/gpu", "count": 0}, ["--gpus=0"]),
    ],
    ids=["another vendor", "slices", "the default", "none"],
)
def test_the_launcher_is_told_whose_gpus_it_gets(gpu: dict, told: list[str]) -> None:
    args = engine_of(resources={"gpu": gpu})["args"]
    assert [argument for argument in args if argument.startswith("--gpu")] == told
    assert parse(args).gpu_resource == gpu["resourceName"] or not gpu.get("count", 1)


def test_typed_options_become_flags_and_raw_ones_follow_behind_the_dashes() -> None:
    args = engine_of(
        model={
            "source": "pvc://weights/llama/8b",
            "name": "llama",
            "adapters": [{"name": "law", "source": "hf://o/a"}],
        },
        engine={
            "maxModelLen": 8192,
            "gpuMemoryUtilization": 0.9,
            "prefixCaching": False,
            "speculative": {"draftModel": "pvc://drafts/small", "tokens": 5},
            "args": ["--seed=1"],
        },
        drain={"timeout": "90s"},
    )["args"]
    assert args == [
        "--model=/models/weights/llama/8b",
        "--served-model-name=llama",
        "--gpus=1",
        "--drain-timeout=90",
        "--max-model-len=8192",
        "--gpu-memory-utilization=0.9",
        "--prefix-caching=false",
        "--draft-model=/models/drafts/small",
        "--draft-tokens=5",
        "--adapter=law=hf://o/a",
        "--",
        "--seed=1",
    ]


def test_claims_are_mounted_once_and_read_only() -> None:
    fields = {"model": {"source": "pvc://weights/a", "adapters": [{"name": "x", "source": "pvc://weights/b"}]}}
    claims = [volume for volume in pod_of(**fields)["volumes"] if "persistentVolumeClaim" in volume]
    mounts = [mount for mount in engine_of(**fields)["volumeMounts"] if mount["name"] == "model-0"]
    assert [claim["persistentVolumeClaim"] for claim in claims] == [{"claimName": "weights"}]
    assert mounts == [{"name": "model-0", "mountPath": "/models/weights", "readOnly": True}]


def test_the_token_comes_by_reference_only() -> None:
    env = {v["name"]: v for v in engine_of(model={"source": "hf://o/m", "tokenSecret": {"name": "hf"}})["env"]}
    assert env["HF_TOKEN"] == {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "hf", "key": "token"}}}


def test_the_users_environment_wins_and_no_name_is_given_twice() -> None:
    env = engine_of(engine={"env": [{"name": "HOME", "value": "/elsewhere"}]})["env"]
    assert [v["value"] for v in env if v["name"] == "HOME"] == ["/elsewhere"]


def test_a_pod_gets_time_to_drain_and_to_start() -> None:
    fields = {"drain": {"timeout": "2m"}, "startup": {"deadline": "10m"}}
    probe = engine_of(**fields)["startupProbe"]
    assert pod_of(**fields)["terminationGracePeriodSeconds"] == 150
    assert probe["periodSeconds"] * probe["failureThreshold"] > 600


def test_the_overlay_is_merged_but_never_takes_our_labels() -> None:
    asked = spec(podTemplate={"labels": {"team": "a"}, "securityContext": {"fsGroup": 7}})
    # No spec that the models read has such a label; should they ever let one in, the selector's labels count.
    overlay = asked.pod_template.model_copy(update={"labels": {"team": "a", "llmfleet.dev/name": "x"}})
    template = pod_template("chat", "12345678", asked.model_copy(update={"pod_template": overlay}), IMAGES)
    assert template["metadata"]["labels"]["team"] == "a"
    assert template["metadata"]["labels"]["llmfleet.dev/name"] == "chat"
    assert template["spec"]["securityContext"]["fsGroup"] == 7
    assert template["spec"]["securityContext"]["runAsNonRoot"] is True


def test_every_object_is_owned_and_found_by_its_labels() -> None:
    data = revision_data(OWNER, "12345678", spec(), IMAGES)
    made = [
        controller_revision(OWNER, "12345678", 1, data),
        deployment(OWNER, "12345678", data, replicas=1, retired_at=NOW),
        service(OWNER, "12345678"),
        disruption_budget(OWNER, "12345678", spec()),
    ]
    for obj in made:
        (owner,) = obj["metadata"]["ownerReferences"]
        assert (owner["uid"], owner["controller"]) == ("u-1", True)
        assert obj["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "llmfleet"
        assert obj["metadata"]["labels"]["llmfleet.dev/name"] == "chat"


def test_a_deployment_is_not_called_failed_while_a_model_may_still_load() -> None:
    fields = {"startup": {"deadline": "30m"}}
    data = revision_data(OWNER, "12345678", spec(**fields), IMAGES)
    assert deployment(OWNER, "1", data, replicas=1, retired_at=None)["spec"]["progressDeadlineSeconds"] > 1800


@pytest.mark.parametrize(
    ("disruption", "limit"),
    [
        ({}, {"maxUnavailable": 1}),
        ({"maxUnavailable": "25%"}, {"maxUnavailable": "25%"}),
        ({"maxUnavailable": 0}, {"maxUnavailable": 0}),
        ({"minAvailable": 2}, {"minAvailable": 2}),
    ],
    ids=str,
)
def test_disruption_becomes_a_budget(disruption: dict, limit: dict) -> None:
    budget = disruption_budget(OWNER, "12345678", spec(disruption=disruption))["spec"]
    assert {key: budget[key] for key in ("maxUnavailable", "minAvailable") if key in budget} == limit
    assert budget["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


def test_only_a_restart_changes_a_deployments_template() -> None:
    data = revision_data(OWNER, "1", spec(podTemplate={"annotations": {"team": "a"}}), IMAGES)
    born = deployment(OWNER, "1", data, replicas=1, restart="a")
    again = deployment(OWNER, "1", data, replicas=3, restart="b", restarted_at=NOW, retired_at=NOW)
    assert born["spec"]["template"] == data["template"]
    assert born["metadata"]["annotations"] == {"llmfleet.dev/restart": "a"}
    assert again["spec"]["template"]["metadata"]["annotations"] == {
        "team": "a",
        "llmfleet.dev/restarted-at": "2026-11-21T12:00:00Z",
    }
    assert again["spec"]["template"]["spec"] == data["template"]["spec"]


def test_a_successor_comes_first_or_an_engine_makes_room() -> None:
    data = revision_data(OWNER, "1", spec(), IMAGES)
    rolling = [
        deployment(OWNER, "1", data, replicas=2, surge=surge)["spec"]["strategy"]["rollingUpdate"]
        for surge in (True, False)
    ]
    assert rolling == [{"maxSurge": 1, "maxUnavailable": 0}, {"maxSurge": 0, "maxUnavailable": 1}]
