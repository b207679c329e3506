"""How the engines of one revision fare: how many are ready, since when they start, and what is wrong first.

The engine's own words are quoted wherever there are any; a reason without them helps nobody.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from llmfleet.api.reasons import Reason
from llmfleet.decide.missing import missing
from llmfleet.decide.remedy import remedy
from llmfleet.observe.views import PodView, Snapshot

_IMAGE_REASONS: Final = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError"}
)
_CONFIG_REASONS: Final = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})
_BACK_OFF: Final = re.compile(r'^Back-off pulling image "[^"]*": ?')
_CLAIM: Final = re.compile(r'^\d+/\d+ nodes are available: persistentvolumeclaim ("[^"]+" not found)\b.*', re.DOTALL)
"""As the scheduler says it of a claim: what it says of nodes besides has nothing to do with that."""
_ORDER: Final = (
    Reason.POD_REFUSED,
    Reason.CONFIG_MISSING,
    Reason.IMAGE_PULL_FAILED,
    Reason.ENGINE_FAILED,
    Reason.UNSCHEDULABLE,
)
"""The most certain cause first: a person mends that one, and the others may be its consequence."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Why an engine is not ready.

    Attributes:
        message: in the words of whoever saw it (engine, kubelet, scheduler, API server).
        restarts: how often the engine was started again.
        at: RFC 3339 text of its last end, empty where it did not end.
    """

    reason: Reason
    message: str
    restarts: int = 0
    at: str = ""


@dataclass(frozen=True, slots=True)
class Health:
    """The engines of one revision.

    Attributes:
        placed: how many engines have a node.
        starting_since: since when the first pod that is not ready has been at its start, None while none is.
        problem: the problem to name first, None while nothing is known to be wrong.
        phases: what the launchers of starting engines do, in words, each once and sorted.
        unready: how many engines were ready before and are up, but do not answer their readiness probe.
        homeless: the scheduler's message about an engine without a node, empty where every pod has one or waits for
            something that is missing.
    """

    ready: int
    placed: int
    starting_since: datetime | None
    problem: Problem | None
    phases: tuple[str, ...]
    unready: int
    homeless: str


def health(snapshot: Snapshot, revision: str) -> Health:
    """Judge the engines of one revision."""
    pods = snapshot.pods_of(revision)
    waiting = [pod for pod in pods if not pod.ready]
    starting = [pod.starting_since for pod in waiting if pod.starting_since is not None]
    seen = [
        *_refusals(snapshot, revision),
        *(problem for pod in waiting for problem in _problems(pod, snapshot.obstacles.get(pod.uid, ""))),
    ]
    problems = [_explained(snapshot, problem) for problem in seen]
    return Health(
        ready=sum(pod.ready for pod in pods),
        placed=sum(pod.scheduled_at is not None for pod in pods),
        starting_since=min(starting, default=None),
        problem=min(problems, key=lambda problem: _ORDER.index(problem.reason), default=None),
        phases=tuple(sorted({snapshot.phases[pod.uid] for pod in waiting if pod.uid in snapshot.phases})),
        unready=sum(pod.lost_readiness for pod in waiting),
        homeless=next((problem.message for problem in problems if problem.reason is Reason.UNSCHEDULABLE), ""),
    )


def _explained(snapshot: Snapshot, problem: Problem) -> Problem:
    """Name the field, where the spec names something that the cluster does not have, or where it can help."""
    if snapshot.spec is None:
        return problem
    if field := missing(snapshot.spec, problem.message):
        said = _CLAIM.sub(r"PersistentVolumeClaim \1", problem.message).rstrip(". ")
        return replace(problem, reason=Reason.CONFIG_MISSING, message=f"{said}; {field}")
    help_ = remedy(snapshot.spec, problem.reason, problem.message)
    return replace(problem, message=f"{problem.message.rstrip('. ')}; {help_}") if help_ else problem


def _refusals(snapshot: Snapshot, revision: str) -> Iterator[Problem]:
    deployment = snapshot.deployments.get(revision)
    if deployment is not None and deployment.refused:
        yield Problem(Reason.POD_REFUSED, deployment.refused)


def _problems(pod: PodView, obstacle: str) -> Iterator[Problem]:
    reason, message = pod.waiting
    if pod.unschedulable:
        yield Problem(Reason.UNSCHEDULABLE, pod.unschedulable)
    if reason in _IMAGE_REASONS:
        yield Problem(Reason.IMAGE_PULL_FAILED, _BACK_OFF.sub("", message) or reason)
    elif reason in _CONFIG_REASONS:
        yield Problem(Reason.CONFIG_MISSING, message or reason)
    elif obstacle and pod.preparing:
        yield Problem(Reason.CONFIG_MISSING, obstacle)
    if pod.failure is not None:
        yield Problem(Reason.ENGINE_FAILED, pod.failure.message, pod.restarts, pod.failure.at)
