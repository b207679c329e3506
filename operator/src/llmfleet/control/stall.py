"""The status of an object that a fault of ours keeps us from saying anything new about. Pure."""

from datetime import datetime

from llmfleet.api.reasons import ConditionType
from llmfleet.api.status import Status
from llmfleet.control.conditions import dated, false, true
from llmfleet.control.sentences import cut
from llmfleet.observe.views import Refusal, Snapshot


def stalled(snapshot: Snapshot, refusal: Refusal, now: datetime) -> Status:
    """Return the last status with a refusal added."""
    last = snapshot.status or Status()
    said = cut(f"{refusal.message.rstrip('.')}.")
    replaced = (
        false(ConditionType.READY, refusal.reason, said),
        true(ConditionType.STALLED, refusal.reason, said),
    )
    gone = {ConditionType.RECONCILING, *(condition.type for condition in replaced)}
    kept = (condition for condition in last.conditions if condition.type not in gone)
    update = {
        "observed_generation": snapshot.generation,
        "summary": said,
        "state": refusal.reason.value,
        "conditions": dated(snapshot, (*kept, *replaced), now),
    }
    return last.model_copy(update=update)
