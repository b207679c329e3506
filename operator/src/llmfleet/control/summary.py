"""The status: one sentence, a word, and conditions that each answer one question. Pure.

A message says what is wrong in the words of whoever saw it, since when, what happens next and what a person can do.
Nothing here changes by the passing of time alone, so an object at rest is never written.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from llmfleet.api.deployment import Spec
from llmfleet.api.names import ANNOTATION_PAUSE, LABEL_NAME
from llmfleet.api.reasons import ConditionType, Reason
from llmfleet.api.status import Condition, RestartStatus, RevisionStatus, Status
from llmfleet.api.units import timestamp
from llmfleet.decide.admission import changed_on_admission
from llmfleet.decide.health import Health, Problem, health
from llmfleet.decide.plan import Plan, RunRevision
from llmfleet.decide.restart import successors
from llmfleet.observe.views import Refusal, Snapshot
from llmfleet.render.objects import endpoint

_PHASES: Final = {
    "Checking": "checking model and GPUs",
    "Starting": "starting the engine",
    "LoadingWeights": "loading weights",
    "Compiling": "compiling",
    "WarmingUp": "warming up",
}
_OUTDATED: Final = " A changed startup, drain or operator default applies from the next revision on."
_WORDS: Final = 1024


@dataclass(frozen=True, slots=True)
class _Facts:
    """What all the sentences are about."""

    snapshot: Snapshot
    spec: Spec
    plan: Plan
    fares: Health
    serving: int
    refusal: Refusal | None
    outdated: bool
    altered: tuple[str, ...]

    @property
    def ready(self) -> bool:
        """Whether what was asked for runs."""
        settled = self.plan.stable == self.plan.target and self.refusal is None and not self.plan.restarting
        return settled and self.fares.ready >= self.spec.replicas

    @property
    def paused(self) -> str:
        """Why nothing is done, empty while something is."""
        return self.snapshot.orders.pause


def summarise(
    snapshot: Snapshot,
    plan: Plan,
    refusal: Refusal | None,
    *,
    outdated: bool,
    now: datetime,
    altered: tuple[str, ...] = (),
) -> Status:
    """Return the status to show.

    Args:
        snapshot: what was seen before the plan was carried out.
        plan: what was decided.
        refusal: what kept the plan from being carried out whole, None where nothing did.
        outdated: whether the target was made with other defaults than a new revision would get.
        now: for conditions whose status changes.
        altered: sentences about objects of ours that are stored otherwise than they were sent.
    """
    spec = snapshot.spec
    if spec is None:
        return _refused(snapshot, plan, snapshot.refusal or refusal, now)
    fares = health(snapshot, plan.target)
    facts = _Facts(snapshot, spec, plan, fares, snapshot.ready(plan.stable), refusal, outdated, altered)
    incoming = plan.target if plan.target != plan.stable else ""
    return Status(
        observed_generation=snapshot.generation,
        summary=_summary(facts),
        state=_state(facts),
        endpoint=endpoint(snapshot.namespace, snapshot.name),
        model=spec.model.name or snapshot.name,
        profile=spec.profile,
        ready=f"{facts.serving}/{spec.replicas}",
        replicas=sum(len(snapshot.pods_of(revision)) for revision in snapshot.deployments),
        selector=f"{LABEL_NAME}={snapshot.name}",
        stable=RevisionStatus(revision=plan.stable, replicas=spec.replicas, ready=facts.serving)
        if plan.stable
        else None,
        canary=RevisionStatus(revision=incoming, replicas=spec.replicas, ready=fares.ready) if incoming else None,
        restart=_restart(facts),
        conditions=_dated(snapshot, _conditions(facts), now),
    )


def _restart(facts: _Facts) -> RestartStatus | None:
    """Echo the restart that was acted on; of a plan that was not carried out whole only what is on record is sure."""
    acted = facts.plan.restart
    if acted is None or facts.refusal is not None:
        return facts.snapshot.status.restart if facts.snapshot.status else None
    return RestartStatus(request=acted.request, at=timestamp(acted.at))


def differs_in_words_only(before: Status | None, after: Status) -> bool:
    """Say whether two statuses tell the same facts in other words, such as another count of restarts or of pods."""
    return before is not None and _facts_of(before) == _facts_of(after)


def _facts_of(status: Status) -> object:
    conditions = {(condition.type, condition.status, condition.reason) for condition in status.conditions}
    rest = status.model_dump(exclude={"summary", "conditions", "replicas"})
    return rest, conditions


def _refused(snapshot: Snapshot, plan: Plan, refusal: Refusal | None, now: datetime) -> Status:
    """What serves goes on serving and is still told; of the rest of the old status nothing is lost."""
    if refusal is None:
        raise ValueError("a snapshot without a spec says why")
    serving, last = snapshot.ready(plan.stable), snapshot.status or Status()
    if serving:
        goes_on = f"Revision {plan.stable} goes on serving with {_engines(serving)} ready."
        available = _true(ConditionType.AVAILABLE, Reason.SERVING, goes_on)
    else:
        goes_on = "Nothing serves."
        available = _false(ConditionType.AVAILABLE, Reason.NO_READY_ENGINE, "No engine is ready.")
    said = _cut(f"{refusal.message.rstrip('.')}.")
    conditions = (
        available,
        _false(ConditionType.READY, refusal.reason, said),
        _true(ConditionType.STALLED, refusal.reason, said),
        _false(ConditionType.CONFIG_VALID, refusal.reason, said),
        *_paused(snapshot),
    )
    stable = last.stable.model_copy(update={"ready": serving}) if last.stable else None
    return last.model_copy(
        update={
            "observed_generation": snapshot.generation,
            "summary": f"Not accepted: {said} {goes_on}",
            "state": refusal.reason.value,
            "stable": stable,
            "conditions": _dated(snapshot, conditions, now),
        }
    )


def _state(facts: _Facts) -> str:
    if facts.refusal is not None:
        return facts.refusal.reason.value
    if facts.paused:
        return Reason.PAUSED.value
    if facts.ready:
        return Reason.SERVING.value if facts.spec.replicas else Reason.SCALED_TO_ZERO.value
    cause = _cause(facts)
    if facts.serving == 0 or cause is Reason.RESTARTING:
        return cause.value
    if facts.plan.stable != facts.plan.target:
        return f"Updating: {cause}"
    return f"Restarting: {cause}" if facts.plan.restarting else f"Partial: {cause}"


def _cause(facts: _Facts) -> Reason:
    """Return why what was asked for does not run."""
    if facts.fares.problem is not None:
        return facts.fares.problem.reason
    if facts.plan.overdue:
        return Reason.STARTUP_DEADLINE_EXCEEDED
    if facts.paused:
        return Reason.PAUSED
    restarting = facts.plan.restarting and facts.plan.stable == facts.plan.target
    return Reason.RESTARTING if restarting else Reason.STARTING


def _summary(facts: _Facts) -> str:
    spec, plan, name = facts.spec, facts.plan, facts.spec.model.name or facts.snapshot.name
    if facts.refusal is not None:
        return _cut(f"{_serving_clause(facts, name)} {facts.refusal.message.rstrip('.')}.")
    if facts.paused:
        return _cut(f"{_serving_clause(facts, name)} {_paused_clause(facts.snapshot)}")
    if facts.ready and spec.replicas == 0:
        return f"Scaled to zero by spec.replicas; revision {plan.target} is remembered."
    if facts.ready:
        return f"Serving {name} on {facts.serving}/{spec.replicas} replicas of {plan.stable}."
    return _cut(f"{_serving_clause(facts, name)} {_progress(facts)}")


def _serving_clause(facts: _Facts, name: str) -> str:
    if facts.serving == 0:
        return f"Not serving {name}."
    return f"Serving {name} on {facts.serving}/{facts.spec.replicas} replicas of {facts.plan.stable}."


def _progress(facts: _Facts) -> str:
    """Say what is under way: a restart of the engines that serve, the start of others, or both."""
    if not facts.plan.restarting:
        return _starting_clause(facts)
    if facts.plan.stable == facts.plan.target:
        return _restart_clause(facts, facts.fares.problem)
    return f"{_restart_clause(facts, None)} {_starting_clause(facts)}"


def _restart_clause(facts: _Facts, problem: Problem | None) -> str:
    """Say how far a restart is, what is in its way, and what can be done about it."""
    plan, replicas = facts.plan, facts.spec.replicas
    done = sum(pod.ready for pod in successors(facts.snapshot, plan.stable))
    clause = f"Revision {plan.stable} restarts its engines one after another ({min(done, replicas)}/{replicas} done)."
    if problem is not None:
        clause += f" {problem_text(plan.stable, problem)}."
    if plan.overdue and plan.stable == plan.target:
        clause += (
            f" It was not ready within startup.deadline ({facts.spec.startup.deadline}); the others go on serving."
        )
    if any(isinstance(step, RunRevision) and step.revision == plan.stable and not step.surge for step in plan.steps):
        return f"{clause} One engine at a time makes room for its successor."
    if problem is not None and problem.reason is Reason.UNSCHEDULABLE:
        clause += " It waits for room for one more engine; to restart without, scale to 0 and back"
        clause += ", which interrupts serving."
    return clause


def _starting_clause(facts: _Facts) -> str:
    """Say how the wanted revision fares: what is wrong, or how far it is, and what happens next."""
    fares, plan, spec = facts.fares, facts.plan, facts.spec
    so_far = f"{fares.ready}/{spec.replicas} ready"
    if fares.problem is not None:
        clause = f"{problem_text(plan.target, fares.problem)} ({so_far}).{_admission_note(facts)}"
    else:
        phases = ", ".join(_PHASES.get(phase, phase) for phase in fares.phases) or "starting"
        clause = f"Revision {plan.target} is {phases} ({so_far})."
    if plan.overdue:
        clause += f" It was not ready within startup.deadline ({spec.startup.deadline})."
    if plan.stable == plan.target:
        return clause
    after = "mend the spec or go back to the former one" if plan.overdue else f"{plan.target} takes over when ready"
    return f"{clause} {plan.stable} goes on serving; {after}."


def _admission_note(facts: _Facts) -> str:
    """Name what admission made of the pods: what fails then may be right in the spec."""
    changes = changed_on_admission(facts.snapshot, facts.plan.target)
    if not changes:
        return ""
    return f" A webhook, policy or LimitRange of the cluster changed the pods: {', '.join(changes)}."


def _paused_clause(snapshot: Snapshot) -> str:
    return (
        f'Paused by the annotation {ANNOTATION_PAUSE}: "{snapshot.orders.pause}". '
        "Nothing is changed or repaired until it is removed."
    )


def _paused(snapshot: Snapshot) -> Iterator[Condition]:
    if snapshot.orders.pause:
        yield _true(ConditionType.PAUSED, Reason.PAUSED, _paused_clause(snapshot))


def problem_text(revision: str, problem: Problem) -> str:
    """Return a problem as a clause that quotes whoever saw it and ends without a full stop."""
    said = problem.message.strip().rstrip(".")
    subject = {
        Reason.UNSCHEDULABLE: f"No node for an engine of {revision}",
        Reason.IMAGE_PULL_FAILED: f"Image of {revision} cannot be pulled",
        Reason.CONFIG_MISSING: f"Engine of {revision} cannot be created",
        Reason.POD_REFUSED: f"Pods of {revision} are refused",
    }.get(problem.reason, f"Engine of {revision} fails")
    return f"{subject}: {said}{_history(problem)}"


def _history(problem: Problem) -> str:
    """Say when the engine ended, and how often it was started again before that."""
    if not problem.at:
        return ""
    if problem.restarts == 0:
        return f" (at {problem.at})"
    return f" ({problem.restarts} restart{'s' if problem.restarts > 1 else ''}, last {problem.at})"


def _conditions(facts: _Facts) -> tuple[Condition, ...]:
    return tuple(_asked(facts))


def _asked(facts: _Facts) -> Iterator[Condition]:
    yield _available(facts)
    yield _ready(facts)
    stalled = _stalled(facts)
    if stalled is not None:
        yield stalled
    elif not facts.ready and not facts.paused:
        yield _true(ConditionType.RECONCILING, _cause(facts), _progress(facts))
    yield from _paused(facts.snapshot)
    yield _engines_ready(facts)
    yield _capacity(facts)
    if facts.refusal is None:
        yield _true(ConditionType.CONFIG_VALID, Reason.VALID, "The spec can be carried out.")
    else:
        yield _false(ConditionType.CONFIG_VALID, facts.refusal.reason, facts.refusal.message)


def _available(facts: _Facts) -> Condition:
    kind, replicas = ConditionType.AVAILABLE, facts.spec.replicas
    if replicas == 0:
        return _false(kind, Reason.SCALED_TO_ZERO, "spec.replicas is 0: scale up to serve.")
    if facts.serving == 0:
        of = f" of revision {facts.plan.stable}" if facts.plan.stable else ""
        return _false(kind, Reason.NO_READY_ENGINE, f"No engine{of} is ready.")
    return _true(kind, Reason.SERVING, f"Revision {facts.plan.stable} answers at {_where(facts)}.")


def _ready(facts: _Facts) -> Condition:
    if facts.refusal is not None:
        return _false(ConditionType.READY, facts.refusal.reason, facts.refusal.message)
    note = _OUTDATED if facts.outdated else ""
    if facts.ready:
        said = f"{_engines(facts.spec.replicas)} of revision {facts.plan.target} ready.{note}{_admission_note(facts)}"
        return _true(ConditionType.READY, Reason.ALL_READY, " ".join((said, *facts.altered)))
    if facts.paused:
        return _false(ConditionType.READY, Reason.PAUSED, _paused_clause(facts.snapshot))
    return _false(ConditionType.READY, _cause(facts), " ".join((f"{_progress(facts)}{note}", *facts.altered)))


def _stalled(facts: _Facts) -> Condition | None:
    if facts.refusal is not None:
        return _true(ConditionType.STALLED, facts.refusal.reason, facts.refusal.message)
    if facts.plan.overdue:
        return _true(ConditionType.STALLED, Reason.STARTUP_DEADLINE_EXCEEDED, _progress(facts))
    return None


def _engines_ready(facts: _Facts) -> Condition:
    fares, kind = facts.fares, ConditionType.ENGINES_READY
    if fares.ready >= facts.spec.replicas:
        return _true(kind, Reason.ALL_READY, f"{_engines(fares.ready)} of revision {facts.plan.target} ready.")
    if fares.problem is not None:
        return _false(kind, fares.problem.reason, f"{problem_text(facts.plan.target, fares.problem)}.")
    reason = Reason.PAUSED if facts.paused else Reason.STARTING
    return _false(kind, reason, f"{fares.ready}/{facts.spec.replicas} of revision {facts.plan.target} ready.")


def _capacity(facts: _Facts) -> Condition:
    problem = facts.fares.problem
    if problem is not None and problem.reason is Reason.UNSCHEDULABLE:
        said = f"{problem.message} Add such a node, or ask for less in spec.resources."
        return _false(ConditionType.CAPACITY_AVAILABLE, Reason.UNSCHEDULABLE, said)
    return _true(ConditionType.CAPACITY_AVAILABLE, Reason.ROOM, "Every engine has a node.")


def _where(facts: _Facts) -> str:
    return endpoint(facts.snapshot.namespace, facts.snapshot.name)


def _engines(count: int) -> str:
    return "1 engine" if count == 1 else f"{count} engines"


def _true(kind: ConditionType, reason: Reason, message: str) -> Condition:
    return _condition(kind, "True", reason, message)


def _false(kind: ConditionType, reason: Reason, message: str) -> Condition:
    return _condition(kind, "False", reason, message)


def _condition(kind: ConditionType, status: Literal["True", "False"], reason: Reason, message: str) -> Condition:
    return Condition(
        type=kind.value,
        status=status,
        reason=reason.value,
        message=_cut(message),
        observed_generation=0,
        last_transition_time="",
    )


def _dated(snapshot: Snapshot, conditions: tuple[Condition, ...], now: datetime) -> tuple[Condition, ...]:
    """Fill in generation and time; a status that did not change keeps its time."""
    before = {condition.type: condition for condition in snapshot.status.conditions} if snapshot.status else {}
    dated = []
    for condition in conditions:
        old = before.get(condition.type)
        since = old.last_transition_time if old and old.status == condition.status else timestamp(now)
        update = {"observed_generation": snapshot.generation, "last_transition_time": since}
        dated.append(condition.model_copy(update=update))
    return tuple(dated)


def _cut(text: str) -> str:
    """Keep a sentence readable and below the schema's limit; engines can be talkative."""
    return text if len(text) <= _WORDS else f"{text[: _WORDS - 3]}..."
