"""What the on-call engineer reads, situation by situation."""

from dataclasses import replace
from datetime import timedelta

import pytest

from llmfleet.api.reasons import Reason
from llmfleet.api.status import Condition, Status
from llmfleet.control.summary import differs_in_words_only, summarise
from llmfleet.decide.decision import decide
from llmfleet.decide.revision import revision_hash
from llmfleet.observe.views import EnginePart, Orders, PodView, Refusal, RevisionView, Snapshot
from tests.unit.worlds import NOW, child, deployment, failed, pod, serving_status, snapshot, stored_spec

NEW, OLD = revision_hash(stored_spec()), "aaaaaaaa"


def status_of(world: Snapshot, refusal: Refusal | None = None, *, outdated: bool = False) -> Status:
    return summarise(world, decide(world, NOW), refusal, outdated=outdated, now=NOW)


def answers(status: Status) -> dict[str, str]:
    return {condition.type: condition.status for condition in status.conditions}


def condition(status: Status, kind: str) -> Condition:
    return next(c for c in status.conditions if c.type == kind)


def test_all_is_well() -> None:
    status = status_of(snapshot(serving=NEW, deployments=(deployment(NEW),), pods=(pod(NEW, ready=True),)))
    assert status.summary == f"Serving chat on 1/1 replicas of {NEW}."
    assert (status.state, status.ready, status.endpoint) == ("Serving", "1/1", "http://chat.team:8000/v1")
    assert answers(status) == {
        "Available": "True",
        "Ready": "True",
        "EnginesReady": "True",
        "CapacityAvailable": "True",
        "ConfigValid": "True",
    }


def test_a_new_model_starts() -> None:
    status = status_of(snapshot())
    assert status.summary == f"Not serving chat. Revision {NEW} is starting (0/1 ready)."
    assert status.state == "Starting"
    assert answers(status)["Reconciling"] == "True"
    assert answers(status)["Available"] == "False"


def test_the_phase_of_the_launcher_is_told() -> None:
    world = snapshot(serving=NEW, deployments=(deployment(NEW),), pods=(pod(NEW),))
    world = replace(world, phases={f"pod-{NEW}-0": "LoadingWeights"})
    assert "is loading weights" in status_of(world).summary


@pytest.mark.parametrize(
    ("trouble", "state", "words"),
    [
        (
            {"scheduled_at": None, "unschedulable": "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."},
            "Unschedulable",
            f"No node for an engine of {NEW}: 0/3 nodes are available: 3 Insufficient nvidia.com/gpu (0/1 ready).",
        ),
        (
            {"waiting": ("ImagePullBackOff", 'Back-off pulling image "x:1": ErrImagePull: no such host')},
            "ImagePullFailed",
            (
                f"Image of {NEW} cannot be pulled: ErrImagePull: no such host; spec.engine.image can name another one, "
                "spec.podTemplate.imagePullSecrets what its registry asks for (0/1 ready)."
            ),
        ),
        (
            {"waiting": ("CreateContainerConfigError", 'secret "hf" not found')},
            "ConfigMissing",
            f'Engine of {NEW} cannot be created: secret "hf" not found (0/1 ready).',
        ),
        (
            failed("libnuma.so.1: cannot open shared object file", 2),
            "EngineFailed",
            (
                f"Engine of {NEW} fails: libnuma.so.1: cannot open shared object file "
                "(2 restarts, last 2026-11-21T11:59:00Z) (0/1 ready)."
            ),
        ),
    ],
    ids=["no GPU", "image", "secret", "crash"],
)
def test_the_cause_is_quoted_in_the_words_of_whoever_saw_it(trouble: dict, state: str, words: str) -> None:
    status = status_of(snapshot(serving=NEW, deployments=(deployment(NEW),), pods=(pod(NEW, **trouble),)))
    assert status.summary == f"Not serving chat. {words}"
    assert status.state == state
    assert condition(status, "EnginesReady").reason == state
    assert condition(status, "Ready").reason == state


def test_a_volume_that_cannot_be_mounted_is_named_for_as_long_as_the_pod_waits_for_it() -> None:
    said = 'MountVolume.SetUp failed for volume "extra" : secret "absent" not found'
    waiting = pod(NEW, waiting=("ContainerCreating", ""), running=False)
    world = snapshot(serving=NEW, deployments=(deployment(NEW),), pods=(waiting,), obstacles={waiting.uid: said})
    status = status_of(world)
    assert status.state == "ConfigMissing"
    assert status.summary == f"Not serving chat. Engine of {NEW} cannot be created: {said} (0/1 ready)."
    assert status_of(replace(world, pods=(pod(NEW),))).state == "Starting"


def test_memory_without_a_unit_is_named_where_no_sandbox_fits_into_it() -> None:
    said = "Failed to create pod sandbox: container init was OOM-killed (memory limit too low?)"
    waiting = pod(NEW, waiting=("ContainerCreating", ""), running=False)
    world = snapshot(serving=NEW, deployments=(deployment(NEW),), pods=(waiting,), obstacles={waiting.uid: said})
    assert f"{said}; raise spec.resources.memory, which is in bytes unless" in status_of(world).summary


def test_quota_and_admission_are_quoted() -> None:
    refused = deployment(NEW, refused='pods "x" is forbidden: exceeded quota: gpus')
    status = status_of(snapshot(serving=NEW, deployments=(refused,)))
    assert "exceeded quota: gpus" in status.summary
    assert status.state == "PodRefused"


def test_a_failing_update_leaves_the_old_one_serving_and_says_so() -> None:
    world = snapshot(
        serving=OLD,
        deployments=(deployment(OLD), deployment(NEW)),
        pods=(pod(OLD, ready=True), pod(NEW, **failed("boom"))),
    )
    status = status_of(world)
    assert status.summary.startswith(f"Serving chat on 1/1 replicas of {OLD}. Engine of {NEW} fails: boom")
    assert status.summary.endswith(f"{OLD} goes on serving; {NEW} takes over when ready.")
    assert (answers(status)["Available"], answers(status)["Ready"]) == ("True", "False")
    assert (status.stable.revision, status.canary.revision) == (OLD, NEW)


def test_a_missed_deadline_stalls() -> None:
    late = pod(NEW, scheduled_at=NOW - timedelta(minutes=31))
    world = snapshot(serving=OLD, deployments=(deployment(OLD), deployment(NEW)), pods=(pod(OLD, ready=True), late))
    status = status_of(world)
    assert condition(status, "Stalled").reason == "StartupDeadlineExceeded"
    assert "was not ready within startup.deadline (30m)" in status.summary
    assert "mend the spec or go back" in status.summary
    assert "Reconciling" not in answers(status)


def test_scaled_to_zero_is_what_was_asked_for() -> None:
    world = snapshot(stored_spec(replicas=0), serving=NEW, deployments=(deployment(NEW, 0),))
    status = status_of(world)
    assert (status.state, answers(status)["Ready"], answers(status)["Available"]) == ("ScaledToZero", "True", "False")


def test_a_spec_that_cannot_be_read_keeps_what_serves() -> None:
    world = snapshot(
        serving=OLD, deployments=(deployment(OLD),), pods=(pod(OLD, ready=True),), status=serving_status(OLD)
    )
    refusal = Refusal(Reason.INVALID_SPEC, "spec.replicas: Input should be less than or equal to 1000")
    status = status_of(replace(world, spec=None, refusal=refusal))
    assert "spec.replicas" in status.summary
    assert f"Revision {OLD} goes on serving" in status.summary
    assert (answers(status)["ConfigValid"], answers(status)["Available"]) == ("False", "True")


def test_a_name_that_is_taken_is_told() -> None:
    status = status_of(snapshot(), Refusal(Reason.NAME_TAKEN, "Service chat exists and does not belong to this object"))
    assert status.state == "NameTaken"
    assert condition(status, "Stalled").reason == "NameTaken"
    assert "Service chat exists" in status.summary


@pytest.mark.parametrize("reason", [Reason.CONTESTED, Reason.NAMESPACE_TERMINATING, Reason.RECONCILE_FAILED])
def test_a_spec_is_not_blamed_for_what_no_change_of_it_would_end(reason: Reason) -> None:
    world = snapshot(serving=NEW, deployments=(deployment(NEW),), pods=(pod(NEW, ready=True),))
    status = status_of(world, Refusal(reason, "somebody else is at work"))
    assert (answers(status)["ConfigValid"], answers(status)["Stalled"]) == ("True", "True")
    assert answers(status_of(world, Refusal(Reason.REJECTED, "no")))["ConfigValid"] == "False"


def test_a_changed_default_is_announced_for_the_next_revision() -> None:
    world = snapshot(serving=NEW, deployments=(deployment(NEW),), pods=(pod(NEW, ready=True),))
    assert "applies from the next revision on" in condition(status_of(world, outdated=True), "Ready").message


def test_time_alone_changes_nothing() -> None:
    world = snapshot(serving=NEW, deployments=(deployment(NEW),), pods=(pod(NEW, ready=True),))
    first = status_of(world)
    later = replace(world, status=first)
    an_hour_on = NOW + timedelta(hours=1)
    assert summarise(later, decide(later, an_hour_on), None, outdated=False, now=an_hour_on) == first


def test_another_restart_is_only_words_but_another_cause_is_news() -> None:
    def with_pod(**more: object) -> Status:
        return status_of(snapshot(serving=NEW, deployments=(deployment(NEW),), pods=(pod(NEW, **more),)))

    once = with_pod(**failed("boom", 1))
    assert differs_in_words_only(once, with_pod(**failed("boom", 2)))
    assert not differs_in_words_only(once, with_pod(ready=True))
    assert not differs_in_words_only(None, once)


def test_that_there_is_room_for_an_engine_is_only_words_but_that_there_is_none_is_news() -> None:
    unmade = status_of(snapshot(serving=NEW, deployments=(deployment(NEW),)))
    placed = status_of(snapshot(serving=NEW, deployments=(deployment(NEW),), pods=(pod(NEW),)))
    assert (answers(unmade)["CapacityAvailable"], answers(placed)["CapacityAvailable"]) == ("Unknown", "True")
    assert differs_in_words_only(unmade, placed)
    full = status_of(
        snapshot(serving=NEW, deployments=(deployment(NEW),), pods=(pod(NEW, unschedulable="0/1 nodes are available"),))
    )
    assert answers(full)["CapacityAvailable"] == "False"
    assert not differs_in_words_only(placed, full)


# --- restart, pause, and what the cluster makes of our objects --------------------------------------------------------

BEFORE = NOW - timedelta(minutes=1)
FULL = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."


def restarting(*successors: PodView, replicas: int = 2, surge: bool = True) -> Snapshot:
    there = replace(deployment(NEW, replicas), restart="a", restarted_at=BEFORE, surge=surge)
    pods = tuple(pod(NEW, number, ready=True) for number in range(replicas))
    spec = stored_spec(replicas=replicas)
    return snapshot(spec, serving=NEW, deployments=(there,), pods=(*pods, *successors))


def test_a_restart_is_told_with_its_progress_while_users_are_served() -> None:
    status = status_of(restarting(pod(NEW, 8, ready=True, restarted_at=BEFORE), pod(NEW, 9, restarted_at=BEFORE)))
    assert status.summary.endswith(f"Revision {NEW} restarts its engines one after another (1/2 done).")
    assert (status.state, answers(status)["Available"]) == ("Restarting", "True")
    assert (answers(status)["Ready"], answers(status)["Reconciling"]) == ("False", "True")
    assert (status.restart.request, status.restart.at) == ("a", "2026-11-21T11:59:00Z")


def test_a_restart_that_finds_no_room_says_what_can_be_done() -> None:
    stuck = pod(NEW, 9, restarted_at=BEFORE, scheduled_at=None, unschedulable=FULL)
    alone, two = status_of(restarting(stuck, replicas=1)), status_of(restarting(stuck))
    assert alone.state == two.state == "Restarting: Unschedulable"
    assert "3 Insufficient nvidia.com/gpu" in alone.summary
    assert "waits for room for one more engine; to restart without, scale to 0 and back" in alone.summary
    assert "One engine at a time makes room for its successor." in two.summary


def test_a_restart_whose_successor_fails_says_so_and_goes_on_serving() -> None:
    late = NOW - timedelta(minutes=31)
    status = status_of(restarting(pod(NEW, 9, restarted_at=BEFORE, **{"scheduled_at": late, **failed("boom")})))
    assert "boom" in status.summary
    assert "within startup.deadline (30m); the others go on serving" in status.summary
    assert condition(status, "Stalled").reason == "StartupDeadlineExceeded"
    assert answers(status)["Available"] == "True"


def test_a_restart_is_echoed_only_when_it_was_acted_on() -> None:
    world = snapshot(serving=NEW, deployments=(deployment(NEW),), pods=(pod(NEW, ready=True),), orders=Orders("a"))
    refused = Refusal(Reason.REJECTED, "the API server refuses Deployment chat: quota")
    assert status_of(world).restart.request == "a"
    assert status_of(world, refused).restart is None


def test_a_pause_is_told_with_its_reason_and_what_serves_is_told_too() -> None:
    world = snapshot(serving=OLD, deployments=(deployment(OLD),), pods=(pod(OLD, ready=True),))
    status = status_of(replace(world, orders=Orders(pause="incident 4711")))
    assert status.summary == (
        f'Serving chat on 1/1 replicas of {OLD}. Paused by the annotation llmfleet.dev/pause: "incident 4711". '
        "Nothing is changed or repaired until it is removed."
    )
    assert status.state == "Paused"
    assert condition(status, "Ready").reason == "Paused"
    assert answers(status) == {
        "Available": "True",
        "Ready": "False",
        "Paused": "True",
        "EnginesReady": "False",
        "CapacityAvailable": "Unknown",
        "ConfigValid": "True",
    }


def test_a_paused_object_that_runs_as_asked_is_ready() -> None:
    world = snapshot(serving=NEW, deployments=(deployment(NEW),), pods=(pod(NEW, ready=True),))
    status = status_of(replace(world, orders=Orders(pause="true")))
    assert (status.state, answers(status)["Ready"], answers(status)["Paused"]) == ("Paused", "True", "True")


def test_an_object_made_under_a_pause_says_that_nothing_serves() -> None:
    status = status_of(snapshot(orders=Orders(pause="true")))
    assert status.summary.startswith("Not serving chat. Its Service chat is missing")
    assert status.stable is None
    assert condition(status, "Available").message.startswith("No Service of this LLMDeployment leads to its engines")


def test_a_spec_that_cannot_be_read_is_told_under_a_pause_as_well() -> None:
    refusal = Refusal(Reason.INVALID_SPEC, "spec.replicas: no")
    status = status_of(replace(snapshot(orders=Orders(pause="true")), spec=None, refusal=refusal))
    assert (status.state, answers(status)["Paused"]) == ("InvalidSpec", "True")


def test_what_admission_made_of_the_pods_is_told_where_they_fail_and_where_they_run() -> None:
    asked, got = EnginePart(image="ours:1"), EnginePart(image="mirror/ours:1")
    remembered = RevisionView(**child("ControllerRevision", NEW), number=1, packed=b"", engine=asked)

    def with_pod(**more: object) -> Status:
        world = snapshot(serving=NEW, deployments=(deployment(NEW),), pods=(pod(NEW, engine=got, **more),))
        return status_of(replace(world, revisions={NEW: remembered}))

    words = "changed the pods: image mirror/ours:1 (asked: ours:1)"
    assert words in with_pod(**failed("boom")).summary
    assert words in condition(with_pod(ready=True), "Ready").message


def test_what_a_policy_makes_of_our_objects_is_told() -> None:
    world = snapshot(serving=NEW, deployments=(deployment(NEW),), pods=(pod(NEW, ready=True),))
    said = "A webhook or policy of the cluster changes spec.replicas of Deployment chat whenever it is written."
    status = summarise(world, decide(world, NOW), None, outdated=False, now=NOW, altered=(said,))
    assert condition(status, "Ready").message.endswith(said)


def test_users_who_reach_nothing_are_not_called_served() -> None:
    world = snapshot(
        remembered=(NEW,), deployments=(deployment(NEW),), pods=(pod(NEW, ready=True),), status=serving_status(NEW)
    )
    taken = Refusal(Reason.NAME_TAKEN, "Service chat exists and does not belong to this LLMDeployment")
    status = status_of(world, taken)
    assert answers(status)["Available"] == "False"
    assert status.summary.startswith("Not serving chat. Service chat exists")
    assert status.stable.revision == NEW, "it is still the way back"


def test_a_switch_that_was_refused_is_not_told_as_made() -> None:
    both = (pod(OLD, ready=True), pod(NEW, ready=True))
    world = snapshot(serving=OLD, deployments=(deployment(OLD), deployment(NEW)), pods=both)
    status = status_of(world, Refusal(Reason.REJECTED, "the API server refuses Service chat: policy"))
    assert status.stable.revision == OLD
    assert f"on 1/1 replicas of {OLD}" in status.summary
    assert answers(status)["Available"] == "True"


def test_an_engine_without_a_node_shows_beside_another_trouble() -> None:
    pods = (
        pod(NEW, 0, waiting=("ErrImagePull", "not found")),
        pod(NEW, 1, scheduled_at=None, unschedulable="0/3 nodes"),
    )
    status = status_of(snapshot(stored_spec(replicas=2), serving=NEW, deployments=(deployment(NEW, 2),), pods=pods))
    assert condition(status, "EnginesReady").reason == "ImagePullFailed"
    assert answers(status)["CapacityAvailable"] == "False"


def test_before_there_are_pods_nobody_knows_whether_there_is_room() -> None:
    assert answers(status_of(snapshot()))["CapacityAvailable"] == "Unknown"


def test_a_missing_secret_is_a_fault_of_the_configuration() -> None:
    lacking = pod(NEW, waiting=("CreateContainerConfigError", 'secret "hf" not found'))
    status = status_of(snapshot(serving=NEW, deployments=(deployment(NEW),), pods=(lacking,)))
    assert condition(status, "ConfigValid").reason == "ConfigMissing"
    assert 'secret "hf" not found' in condition(status, "ConfigValid").message


def test_an_engine_that_was_ready_is_not_called_starting() -> None:
    blip = pod(NEW, scheduled_at=NOW - timedelta(days=2), unready_since=NOW - timedelta(seconds=1), started=True)
    status = status_of(snapshot(serving=NEW, deployments=(deployment(NEW),), pods=(blip,)))
    assert status.state == "NotReady"
    assert "do not answer their readiness probe (0/1 ready)" in status.summary


UNBOUND = "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims."


def without_a_node(said: str) -> Status:
    spec = stored_spec("pvc://absent/tiny")
    revision = revision_hash(spec)
    waiting = pod(revision, scheduled_at=None, unschedulable=said, running=False)
    return status_of(snapshot(spec, serving=revision, deployments=(deployment(revision),), pods=(waiting,)))


def test_a_missing_claim_is_told_in_one_clause_and_nobody_knows_whether_there_is_room() -> None:
    status = without_a_node('0/1 nodes are available: persistentvolumeclaim "absent" not found.')
    assert ' cannot be created: PersistentVolumeClaim "absent" not found; spec.model.source names it:' in status.summary
    assert answers(status)["CapacityAvailable"] == "Unknown"
    assert condition(status, "CapacityAvailable").message == "No node yet for 1 engine."


def test_a_claim_that_is_not_bound_is_named_instead_of_a_node() -> None:
    remedy = "look at PersistentVolumeClaim absent (spec.model.source): its StorageClass must exist"
    status = without_a_node(UNBOUND)
    assert remedy in status.summary
    capacity = condition(status, "CapacityAvailable").message
    assert remedy in capacity
    assert capacity.endswith("access mode.")
    assert "Add such a node" in condition(without_a_node("0/1 nodes: 1 Insufficient cpu."), "CapacityAvailable").message


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ("engine option: unrecognized arguments: --enforce-eagr", "correct spec.engine.args"),
        ("out of memory: the kernel killed a process; give the pod more memory", "raise spec.resources.memory"),
        ("it ended with exit code 137 (OOMKilled); see kubectl logs x --previous", "raise spec.resources.memory"),
    ],
    ids=["option", "memory", "memory as the kubelet says it"],
)
def test_the_field_that_helps_is_named(said: str, field: str) -> None:
    status = status_of(snapshot(serving=NEW, deployments=(deployment(NEW),), pods=(pod(NEW, **failed(said)),)))
    assert field in status.summary


def test_an_image_that_the_spec_names_is_named_by_its_field() -> None:
    spec = stored_spec(engine={"image": "x:1"})
    revision = revision_hash(spec)
    waiting = pod(revision, waiting=("ErrImagePull", "no such host"))
    status = status_of(snapshot(spec, serving=revision, deployments=(deployment(revision),), pods=(waiting,)))
    assert "no such host; spec.engine.image names it" in status.summary


def test_a_missing_service_is_told_under_a_pause() -> None:
    world = snapshot(remembered=(NEW,), deployments=(deployment(NEW),), pods=(pod(NEW, ready=True),))
    status = status_of(replace(world, orders=Orders(pause="true")))
    assert status.summary.startswith(
        "Not serving chat. Its Service chat is missing; unpause to have it made. Paused by"
    )


def test_a_size_that_a_pause_holds_is_not_called_ready() -> None:
    pods = (pod(NEW, 0, ready=True), pod(NEW, 1, ready=True))
    world = snapshot(serving=NEW, deployments=(deployment(NEW, 2),), pods=pods)
    status = status_of(replace(world, orders=Orders(pause="true")))
    assert (answers(status)["Ready"], condition(status, "Ready").reason) == ("False", "Paused")
