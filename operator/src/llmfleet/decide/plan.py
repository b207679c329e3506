"""The plan: what to do about one LLMDeployment, in order, each step with its reason and a sentence.

Every step says what shall be, not what shall be changed: whoever applies it compares with what is, and a step that is
already true costs nothing. Equal snapshots at equal times give equal plans.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from llmfleet.api.reasons import Reason


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that shall be."""

    revision: str
    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class RememberRevision(Step):
    """The revision's resolved template is stored, and from then on never changes."""


@dataclass(frozen=True, slots=True)
class PointService(Step):
    """The Service selects the revision's pods."""


@dataclass(frozen=True, slots=True)
class RunRevision(Step):
    """The revision runs.

    Attributes:
        replicas: engines wanted.
        retired_at: when it was relieved of serving, None while it serves or is to serve.
        restart: the restart that it last answered or was made with, empty for none.
        restarted_at: when its engines were told to restart, None where they never were.
        surge: a successor may start while all engines are still there; else one engine makes room first.
    """

    replicas: int
    retired_at: datetime | None = None
    restart: str = ""
    restarted_at: datetime | None = None
    surge: bool = True


@dataclass(frozen=True, slots=True)
class GuardRevision(Step):
    """Evictions of the revision's pods are limited."""


@dataclass(frozen=True, slots=True)
class RemoveRevision(Step):
    """The revision runs no more; its engines finish what they have begun."""


@dataclass(frozen=True, slots=True)
class ForgetRevision(Step):
    """The revision's stored template is gone."""


@dataclass(frozen=True, slots=True)
class Acted:
    """A restart that was asked for and acted on.

    Attributes:
        request: the annotation's value.
        at: when it was acted on, or noted where the engines were only just made.
    """

    request: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do, and what the steps come from.

    Attributes:
        target: revision that the spec asks for, empty where the spec cannot be read.
        stable: revision that the Service selects once the plan is carried out.
        overdue: the target has not become ready within startup.deadline.
        revisit_s: seconds until time alone can change the plan, None where it cannot.
        restart: the restart that was last acted on, this plan included, None where none was ever asked for.
        restarting: engines of the stable revision are still to be replaced.
        relieved: revisions that serve no more, once the plan is carried out, with the moment from which on; to be
            handed in again with the next snapshot, because not everywhere what is noted on an object stays there.
    """

    target: str
    stable: str
    overdue: bool
    steps: tuple[Step, ...]
    revisit_s: float | None = None
    restart: Acted | None = None
    restarting: bool = False
    relieved: Mapping[str, datetime] = field(default_factory=dict)
