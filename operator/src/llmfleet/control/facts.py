"""What one status is about: what was seen, what was decided, and what came of it. Pure."""

from dataclasses import dataclass

from llmfleet.api.deployment import Spec
from llmfleet.api.reasons import Reason
from llmfleet.decide.health import Health
from llmfleet.decide.plan import Plan, PointService, Step
from llmfleet.observe.views import Refusal, Snapshot


@dataclass(frozen=True, slots=True)
class Facts:
    """What all the sentences are about.

    Attributes:
        fares: how the engines of the wanted revision fare.
        reached: revision that the Service leads to now, empty where it leads nowhere or is not ours.
        refusal: what kept the plan from being carried out whole, None where nothing did.
        outdated: whether the target was made with other defaults than a new revision would get.
        altered: sentences about objects of ours that are stored otherwise than they were sent.
    """

    snapshot: Snapshot
    spec: Spec
    plan: Plan
    fares: Health
    reached: str
    refusal: Refusal | None
    outdated: bool
    altered: tuple[str, ...]

    @property
    def name(self) -> str:
        """What clients call the model."""
        return self.spec.model.name or self.snapshot.name

    @property
    def serving(self) -> int:
        """How many ready engines users reach."""
        return self.snapshot.ready(self.reached) if self.reached else 0

    @property
    def ready(self) -> bool:
        """Whether what was asked for runs."""
        settled = self.reached == self.plan.target and self.refusal is None and not self.plan.restarting
        return settled and self.fares.ready >= self.spec.replicas and not self._size_is_held

    @property
    def _size_is_held(self) -> bool:
        """Whether a pause keeps the wanted revision at another size than the spec asks for."""
        existing = self.snapshot.deployments.get(self.plan.target)
        return bool(self.paused) and existing is not None and existing.replicas != self.spec.replicas

    @property
    def paused(self) -> str:
        """Why nothing is done, empty while something is."""
        return self.snapshot.orders.pause

    @property
    def cause(self) -> Reason:
        """Why what was asked for does not run."""
        if self.fares.problem is not None:
            return self.fares.problem.reason
        if self.plan.overdue:
            return Reason.STARTUP_DEADLINE_EXCEEDED
        if self.paused:
            return Reason.PAUSED
        if self.plan.restarting and self.plan.stable == self.plan.target:
            return Reason.RESTARTING
        return Reason.NOT_READY if self.fares.unready else Reason.STARTING


def reached(snapshot: Snapshot, plan: Plan, refusal: Refusal | None, done: tuple[Step, ...]) -> str:
    """Return the revision that the Service leads to after a plan was carried out, empty where there is none of ours.

    Args:
        snapshot: what was seen before.
        plan: what was decided.
        refusal: what kept it from being carried out whole.
        done: what was done of it.
    """
    if any(isinstance(step, PointService) for step in (plan.steps if refusal is None else done)):
        return plan.stable
    return snapshot.service.revision if snapshot.service else ""
