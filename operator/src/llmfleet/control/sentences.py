"""The sentences of a status: what is wrong, as whoever saw it says, what happens next, what a person can do. Pure.

Nothing here changes by the passing of time alone, so an object at rest is never written.
"""

from typing import Final

from llmfleet.api.names import ANNOTATION_PAUSE
from llmfleet.api.reasons import Reason
from llmfleet.control.facts import Facts
from llmfleet.decide.admission import changed_on_admission
from llmfleet.decide.health import Problem
from llmfleet.decide.plan import RunRevision
from llmfleet.decide.restart import successors
from llmfleet.observe.views import Snapshot

_PHASES: Final = {
    "Checking": "checking model and GPUs",
    "Starting": "starting the engine",
    "LoadingWeights": "loading weights",
    "Compiling": "compiling",
    "WarmingUp": "warming up",
}
_WORDS: Final = 1024


def summary(facts: Facts) -> str:
    """Return the status in one sentence."""
    spec, plan = facts.spec, facts.plan
    if facts.refusal is not None:
        return cut(f"{_serving_clause(facts)} {facts.refusal.message.rstrip('.')}.")
    if facts.paused:
        return cut(f"{_serving_clause(facts)} {_without_service(facts)}{paused_clause(facts.snapshot)}")
    if facts.ready and spec.replicas == 0:
        return f"Scaled to zero by spec.replicas; revision {plan.target} is remembered."
    if facts.ready:
        return f"Serving {facts.name} on {facts.serving}/{spec.replicas} replicas of {plan.stable}."
    return cut(f"{_serving_clause(facts)} {progress(facts)}")


def _serving_clause(facts: Facts) -> str:
    if facts.serving == 0:
        return f"Not serving {facts.name}."
    return f"Serving {facts.name} on {facts.serving}/{facts.spec.replicas} replicas of {facts.reached}."


def _without_service(facts: Facts) -> str:
    """Say under a pause that the Service is missing, which no one else would make."""
    if facts.snapshot.service is not None:
        return ""
    return f"Its Service {facts.snapshot.name} is missing; unpause to have it made. "


def progress(facts: Facts) -> str:
    """Say what is under way: a restart of the engines that serve, the start of others, or both."""
    if not facts.plan.restarting:
        return _starting_clause(facts)
    if facts.plan.stable == facts.plan.target:
        return _restart_clause(facts, facts.fares.problem)
    return f"{_restart_clause(facts, None)} {_starting_clause(facts)}"


def _restart_clause(facts: Facts, problem: Problem | None) -> str:
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


def _starting_clause(facts: Facts) -> str:
    """Say how the wanted revision fares: what is wrong, or how far it is, and what happens next."""
    fares, plan, spec = facts.fares, facts.plan, facts.spec
    so_far = f"{fares.ready}/{spec.replicas} ready"
    if fares.problem is not None:
        clause = f"{problem_text(plan.target, fares.problem)} ({so_far}).{admission_note(facts)}"
    elif fares.unready and not fares.phases:
        clause = (
            f"Revision {plan.target} is not ready: engines that were do not answer their readiness probe ({so_far})."
        )
    else:
        phases = ", ".join(_PHASES.get(phase, phase) for phase in fares.phases) or "starting"
        clause = f"Revision {plan.target} is {phases} ({so_far})."
    if plan.overdue:
        clause += f" It was not ready within startup.deadline ({spec.startup.deadline})."
    if plan.stable == plan.target:
        return clause
    after = "mend the spec or go back to the former one" if plan.overdue else f"{plan.target} takes over when ready"
    return f"{clause} {plan.stable} goes on serving; {after}."


def admission_note(facts: Facts) -> str:
    """Name what admission made of the pods: what fails then may be right in the spec."""
    changes = changed_on_admission(facts.snapshot, facts.plan.target)
    if not changes:
        return ""
    return f" A webhook, policy or LimitRange of the cluster changed the pods: {', '.join(changes)}."


def paused_clause(snapshot: Snapshot) -> str:
    """Say who paused it, in their own words, and what that means."""
    return (
        f'Paused by the annotation {ANNOTATION_PAUSE}: "{snapshot.orders.pause}". '
        "Nothing is changed or repaired until it is removed."
    )


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


def engines(count: int) -> str:
    """Count engines in words."""
    return "1 engine" if count == 1 else f"{count} engines"


def cut(text: str) -> str:
    """Keep a sentence readable and below the schema's limit; engines can be talkative."""
    return text if len(text) <= _WORDS else f"{text[: _WORDS - 3]}..."
