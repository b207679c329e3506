"""Builders of snapshots for tests of decisions: a world in a line."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from llmfleet.api.deployment import Spec
from llmfleet.api.status import RevisionStatus, Status
from llmfleet.decide.revision import revision_hash
from llmfleet.observe.views import Child, DeploymentView, Failure, PodView, RevisionView, Snapshot, packed

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
UID = "11111111-2222-3333-4444-555555555555"


def stored_spec(model: str = "hf://org/one", **fields: Any) -> dict[str, Any]:
    return {"model": {"source": model}, **fields}


def child(kind: str, revision: str, name: str = "chat") -> dict[str, Any]:
    return {
        "namespace": "team",
        "name": name if kind == "Service" else f"{name}-{revision}",
        "uid": f"{kind}-{revision}",
        "owner": UID,
        "llm": name,
        "revision": revision,
        "digest": "",
    }


def deployment(
    revision: str, replicas: int = 1, retired_at: datetime | None = None, refused: str = ""
) -> DeploymentView:
    return DeploymentView(**child("Deployment", revision), replicas=replicas, refused=refused, retired_at=retired_at)


def pod(
    revision: str, number: int = 0, *, ready: bool = False, scheduled_at: datetime | None = NOW, **more: Any
) -> PodView:
    view = PodView(
        namespace="team",
        name=f"chat-{revision}-{number}",
        uid=f"pod-{revision}-{number}",
        llm="chat",
        revision=revision,
        ready=ready,
        deleting=False,
        scheduled_at=scheduled_at,
        unschedulable="",
        waiting=("", ""),
        running=True,
        failure=None,
        restarts=0,
        probe="",
    )
    return replace(view, **more)


def failed(message: str, restarts: int = 1) -> dict[str, Any]:
    return {
        "failure": Failure(message, "2026-11-21T11:59:00Z"),
        "restarts": restarts,
        "waiting": ("CrashLoopBackOff", "back-off 10s restarting failed container"),
        "running": False,
    }


def snapshot(
    spec: dict[str, Any] | None = None,
    *,
    serving: str = "",
    deployments: tuple[DeploymentView, ...] = (),
    pods: tuple[PodView, ...] = (),
    remembered: tuple[str, ...] | None = None,
    status: Status | None = None,
    **more: Any,
) -> Snapshot:
    """A snapshot; every Deployment's revision is remembered unless said otherwise, in the order given."""
    stored = stored_spec() if spec is None else spec
    names = remembered if remembered is not None else tuple(view.revision for view in deployments)
    made = Snapshot(
        namespace="team",
        name="chat",
        uid=UID,
        generation=1,
        deleting=False,
        spec=Spec.model_validate(stored),
        refusal=None,
        revision=revision_hash(stored),
        status=status,
        service=Child(**child("Service", serving)) if serving else None,
        deployments={view.revision: view for view in deployments},
        budgets={view.revision: Child(**child("PodDisruptionBudget", view.revision)) for view in deployments},
        revisions={
            name: RevisionView(**child("ControllerRevision", name), number=number, packed=packed({}))
            for number, name in enumerate(names, 1)
        },
        pods=pods,
        phases={},
    )
    return replace(made, **more)


def serving_status(revision: str) -> Status:
    return Status(stable=RevisionStatus(revision=revision, replicas=1, ready=1))
