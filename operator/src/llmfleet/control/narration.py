"""Events: what changed, told once. Only transitions and refusals; what merely goes on is in the status."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from llmfleet.api.reasons import ConditionType, Reason
from llmfleet.api.status import Condition, Status
from llmfleet.decide.plan import PointService, RemoveRevision, RunRevision, Step
from llmfleet.observe.views import Snapshot

_TROUBLE = frozenset(
    {
        Reason.UNSCHEDULABLE,
        Reason.IMAGE_PULL_FAILED,
        Reason.CONFIG_MISSING,
        Reason.ENGINE_FAILED,
        Reason.POD_REFUSED,
        Reason.STARTUP_DEADLINE_EXCEEDED,
        Reason.NAME_TAKEN,
        Reason.INVALID_SPEC,
        Reason.HOST_PATH_NOT_ALLOWED,
        Reason.REJECTED,
        Reason.CONTESTED,
        Reason.RECONCILE_FAILED,
    }
)
_TOLD_OF = (ConditionType.ENGINES_READY, ConditionType.STALLED, ConditionType.CONFIG_VALID)


@dataclass(frozen=True, slots=True)
class Telling:
    """One Event to be."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str


def narrate(snapshot: Snapshot, done: tuple[Step, ...], status: Status) -> Iterator[Telling]:
    """Return the Events of one reconcile: steps that changed something, troubles that are new, and their end."""
    if status.state == Reason.NAMESPACE_TERMINATING:
        return  # nor can an Event be made in it
    for step in done:
        first = isinstance(step, PointService) and step.reason is Reason.NEW_REVISION
        told_of = isinstance(step, RunRevision | PointService | RemoveRevision) and not first
        if told_of or step.reason is Reason.REPAIRED:
            yield Telling("Normal", step.reason, _sentence(step.message))
    before = _by_type(snapshot.status)
    told: set[str] = set()
    for name in _TOLD_OF:
        condition, old = _by_type(status).get(name), before.get(name)
        if condition is None or condition.reason not in _TROUBLE or condition.reason in told:
            continue
        if old is None or old.reason != condition.reason:
            told.add(condition.reason)
            yield Telling("Warning", condition.reason, condition.message)
    serves, served = _by_type(status).get(ConditionType.AVAILABLE), before.get(ConditionType.AVAILABLE)
    if serves is not None and served is not None and (serves.status, served.status) == ("False", "True"):
        scaled = serves.reason == Reason.SCALED_TO_ZERO
        yield Telling("Normal" if scaled else "Warning", serves.reason, serves.message)
    paused = _by_type(status).get(ConditionType.PAUSED)
    if paused is not None and ConditionType.PAUSED not in before:
        yield Telling("Normal", paused.reason, paused.message)
    ready, was = _by_type(status).get(ConditionType.READY), before.get(ConditionType.READY)
    if ready is not None and ready.status == "True" and (was is None or was.status != "True"):
        yield Telling("Normal", ready.reason, ready.message)


def _by_type(status: Status | None) -> dict[str, Condition]:
    return {condition.type: condition for condition in status.conditions} if status else {}


def _sentence(clause: str) -> str:
    return f"{clause[:1].upper()}{clause[1:]}."
