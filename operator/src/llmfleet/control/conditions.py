"""The conditions of a status: questions, each answered with a reason and a sentence. Pure."""

from collections.abc import Iterator
from datetime import datetime
from typing import Final, Literal

from llmfleet.api.reasons import ConditionType, Reason
from llmfleet.api.status import Condition
from llmfleet.api.units import timestamp
from llmfleet.control.facts import Facts
from llmfleet.control.sentences import admission_note, cut, engines, paused_clause, problem_text, progress
from llmfleet.decide.missing import unbound
from llmfleet.observe.views import Snapshot
from llmfleet.render.objects import endpoint

_OUTDATED: Final = " A changed startup, drain or operator default applies from the next revision on."

_NOT_THE_SPECS: Final = frozenset({Reason.RECONCILE_FAILED, Reason.CONTESTED, Reason.NAMESPACE_TERMINATING})
"""Refusals that no change of the spec would end."""


def asked(facts: Facts) -> Iterator[Condition]:
    """Answer every question; generation and time are filled in by `dated`."""
    yield _available(facts)
    yield _ready(facts)
    stalled = _stalled(facts)
    if stalled is not None:
        yield stalled
    elif not facts.ready and not facts.paused:
        yield true(ConditionType.RECONCILING, facts.cause, progress(facts))
    yield from paused(facts.snapshot)
    yield _engines_ready(facts)
    yield _capacity(facts)
    yield _config_valid(facts)


def _available(facts: Facts) -> Condition:
    kind, replicas = ConditionType.AVAILABLE, facts.spec.replicas
    if replicas == 0:
        return false(kind, Reason.SCALED_TO_ZERO, "Nothing serves, as spec.replicas 0 asks.")
    if not facts.reached:
        why = facts.refusal.reason if facts.refusal is not None else Reason.NO_READY_ENGINE
        return false(kind, why, f"No Service of this LLMDeployment leads to its engines at {_where(facts)}.")
    if facts.serving == 0:
        return false(kind, Reason.NO_READY_ENGINE, f"No engine of revision {facts.reached} is ready.")
    return true(kind, Reason.SERVING, f"Revision {facts.reached} answers at {_where(facts)}.")


def _ready(facts: Facts) -> Condition:
    if facts.refusal is not None:
        return false(ConditionType.READY, facts.refusal.reason, facts.refusal.message)
    note = _OUTDATED if facts.outdated else ""
    if facts.ready:
        said = f"{engines(facts.spec.replicas)} of revision {facts.plan.target} ready.{note}{admission_note(facts)}"
        return true(ConditionType.READY, Reason.ALL_READY, " ".join((said, *facts.altered)))
    if facts.paused:
        return false(ConditionType.READY, Reason.PAUSED, paused_clause(facts.snapshot))
    return false(ConditionType.READY, facts.cause, " ".join((f"{progress(facts)}{note}", *facts.altered)))


def _stalled(facts: Facts) -> Condition | None:
    if facts.refusal is not None:
        return true(ConditionType.STALLED, facts.refusal.reason, facts.refusal.message)
    if facts.plan.overdue:
        return true(ConditionType.STALLED, Reason.STARTUP_DEADLINE_EXCEEDED, progress(facts))
    return None


def _engines_ready(facts: Facts) -> Condition:
    fares, kind = facts.fares, ConditionType.ENGINES_READY
    if fares.ready >= facts.spec.replicas:
        return true(kind, Reason.ALL_READY, f"{engines(fares.ready)} of revision {facts.plan.target} ready.")
    if fares.problem is not None:
        return false(kind, fares.problem.reason, f"{problem_text(facts.plan.target, fares.problem)}.")
    return false(kind, facts.cause, f"{fares.ready}/{facts.spec.replicas} of revision {facts.plan.target} ready.")


def _config_valid(facts: Facts) -> Condition:
    kind, problem = ConditionType.CONFIG_VALID, facts.fares.problem
    if facts.refusal is not None and facts.refusal.reason not in _NOT_THE_SPECS:
        return false(kind, facts.refusal.reason, facts.refusal.message)
    if problem is not None and problem.reason is Reason.CONFIG_MISSING:
        return false(kind, problem.reason, f"{problem_text(facts.plan.target, problem)}.")
    return true(kind, Reason.VALID, "The spec can be carried out.")


def _capacity(facts: Facts) -> Condition:
    kind, fares = ConditionType.CAPACITY_AVAILABLE, facts.fares
    if fares.homeless:
        of_claims = unbound(facts.spec, fares.homeless)
        remedy = "" if of_claims else " Add such a node, or ask for less in spec.resources."
        return false(kind, Reason.UNSCHEDULABLE, f"{fares.homeless.rstrip('.')}.{remedy}")
    if fares.placed < facts.spec.replicas:
        missing = engines(facts.spec.replicas - fares.placed)
        return _condition(kind, "Unknown", facts.cause, f"No node yet for {missing}.")
    return true(kind, Reason.ROOM, "Every engine has a node.")


def _where(facts: Facts) -> str:
    return endpoint(facts.snapshot.namespace, facts.snapshot.name)


def paused(snapshot: Snapshot) -> Iterator[Condition]:
    """Say that it is paused, where it is."""
    if snapshot.orders.pause:
        yield true(ConditionType.PAUSED, Reason.PAUSED, paused_clause(snapshot))


def true(kind: ConditionType, reason: Reason, message: str) -> Condition:
    """Answer yes."""
    return _condition(kind, "True", reason, message)


def false(kind: ConditionType, reason: Reason, message: str) -> Condition:
    """Answer no."""
    return _condition(kind, "False", reason, message)


def _condition(
    kind: ConditionType, status: Literal["True", "False", "Unknown"], reason: Reason, message: str
) -> Condition:
    return Condition(
        type=kind.value,
        status=status,
        reason=reason.value,
        message=cut(message),
        observed_generation=0,
        last_transition_time="",
    )


def dated(snapshot: Snapshot, conditions: tuple[Condition, ...], now: datetime) -> tuple[Condition, ...]:
    """Fill in generation and time; a status that did not change keeps its time."""
    before = {condition.type: condition for condition in snapshot.status.conditions} if snapshot.status else {}
    dated = []
    for condition in conditions:
        old = before.get(condition.type)
        since = old.last_transition_time if old and old.status == condition.status else timestamp(now)
        update = {"observed_generation": snapshot.generation, "last_transition_time": since}
        dated.append(condition.model_copy(update=update))
    return tuple(dated)
