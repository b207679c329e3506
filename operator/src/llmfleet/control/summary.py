"""The status: one sentence, a word, and conditions that each answer one question. Pure."""

from datetime import datetime

from llmfleet.api.names import LABEL_NAME
from llmfleet.api.reasons import ConditionType, Reason
from llmfleet.api.status import Condition, RestartStatus, RevisionStatus, Status
from llmfleet.api.units import timestamp
from llmfleet.control.conditions import asked, dated, false, paused, true
from llmfleet.control.facts import Facts, reached
from llmfleet.control.sentences import cut, engines, summary
from llmfleet.decide.health import health
from llmfleet.decide.plan import Plan, Step
from llmfleet.observe.views import Refusal, Snapshot
from llmfleet.render.objects import endpoint


def summarise(
    snapshot: Snapshot,
    plan: Plan,
    refusal: Refusal | None,
    *,
    outdated: bool,
    now: datetime,
    done: tuple[Step, ...] = (),
    altered: tuple[str, ...] = (),
) -> Status:
    """Return the status to show.

    Args:
        snapshot: what was seen before the plan was carried out.
        plan: what was decided.
        refusal: what kept the plan from being carried out whole, None where nothing did.
        outdated: whether the target was made with other defaults than a new revision would get.
        now: for conditions whose status changes.
        done: what was done of the plan.
        altered: sentences about objects of ours that are stored otherwise than they were sent.
    """
    spec = snapshot.spec
    if spec is None:
        return _refused(snapshot, plan, snapshot.refusal or refusal, now)
    fares = health(snapshot, plan.target)
    users_reach = reached(snapshot, plan, refusal, done)
    facts = Facts(snapshot, spec, plan, fares, users_reach, refusal, outdated, altered)
    stable = users_reach or plan.stable  # where no Service leads, it is still the way back
    incoming = plan.target if plan.target != stable else ""
    return Status(
        observed_generation=snapshot.generation,
        summary=summary(facts),
        state=_state(facts),
        endpoint=endpoint(snapshot.namespace, snapshot.name),
        model=spec.model.name or snapshot.name,
        profile=spec.profile,
        ready=f"{facts.serving}/{spec.replicas}",
        replicas=sum(len(snapshot.pods_of(revision)) for revision in snapshot.deployments),
        selector=f"{LABEL_NAME}={snapshot.name}",
        stable=RevisionStatus(revision=stable, replicas=spec.replicas, ready=facts.serving) if stable else None,
        canary=RevisionStatus(revision=incoming, replicas=spec.replicas, ready=fares.ready) if incoming else None,
        restart=_restart(facts),
        conditions=dated(snapshot, tuple(asked(facts)), now),
    )


def _restart(facts: Facts) -> RestartStatus | None:
    """Echo the restart that was acted on; of a plan that was not carried out whole only what is on record is sure."""
    acted = facts.plan.restart
    if acted is None or facts.refusal is not None:
        return facts.snapshot.status.restart if facts.snapshot.status else None
    return RestartStatus(request=acted.request, at=timestamp(acted.at))


def differs_in_words_only(before: Status | None, after: Status) -> bool:
    """Say whether two statuses tell the same facts in other words, such as another count of restarts or of pods."""
    return before is not None and _facts_of(before) == _facts_of(after)


def _facts_of(status: Status) -> object:
    conditions = {
        (condition.type, condition.status, condition.reason) for condition in status.conditions if _news(condition)
    }
    rest = status.model_dump(exclude={"summary", "conditions", "replicas"})
    return rest, conditions


def _news(condition: Condition) -> bool:
    """Say whether an answer is worth a write: that there is room for the engines is none, that there is none is one."""
    return condition.type != ConditionType.CAPACITY_AVAILABLE or condition.status == "False"


def _refused(snapshot: Snapshot, plan: Plan, refusal: Refusal | None, now: datetime) -> Status:
    """What serves goes on serving and is still told; of the rest of the old status nothing is lost."""
    if refusal is None:
        raise ValueError("a snapshot without a spec says why")
    users_reach, last = reached(snapshot, plan, refusal, ()), snapshot.status or Status()
    serving = snapshot.ready(users_reach) if users_reach else 0
    if serving:
        goes_on = f"Revision {users_reach} goes on serving with {engines(serving)} ready."
        available = true(ConditionType.AVAILABLE, Reason.SERVING, goes_on)
    else:
        goes_on = "Nothing serves."
        available = false(ConditionType.AVAILABLE, Reason.NO_READY_ENGINE, "No engine is ready.")
    said = cut(f"{refusal.message.rstrip('.')}.")
    conditions = (
        available,
        false(ConditionType.READY, refusal.reason, said),
        true(ConditionType.STALLED, refusal.reason, said),
        false(ConditionType.CONFIG_VALID, refusal.reason, said),
        *paused(snapshot),
    )
    stable = last.stable.model_copy(update={"ready": serving}) if last.stable else None
    return last.model_copy(
        update={
            "observed_generation": snapshot.generation,
            "summary": f"Not accepted: {said} {goes_on}",
            "state": refusal.reason.value,
            "stable": stable,
            "conditions": dated(snapshot, conditions, now),
        }
    )


def _state(facts: Facts) -> str:
    if facts.refusal is not None:
        return facts.refusal.reason.value
    if facts.paused:
        return Reason.PAUSED.value
    if facts.ready:
        return Reason.SERVING.value if facts.spec.replicas else Reason.SCALED_TO_ZERO.value
    cause = facts.cause
    if facts.serving == 0 or cause is Reason.RESTARTING:
        return cause.value
    if facts.plan.stable != facts.plan.target:
        return f"Updating: {cause}"
    return f"Restarting: {cause}" if facts.plan.restarting else f"Partial: {cause}"
