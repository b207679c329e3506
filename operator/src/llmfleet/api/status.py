"""``status``: what the on-call engineer reads."""

from typing import Annotated, Literal

from pydantic import Field

from llmfleet.api.markers import list_map
from llmfleet.api.part import Items, Part

Timestamp = Annotated[str, Field(max_length=32, json_schema_extra={"format": "date-time"})]


class Condition(Part):
    """One question about the object, answered (metav1.Condition)."""

    type: str = Field(description="The question.", pattern="^[A-Za-z]+$", max_length=64)
    status: Literal["True", "False", "Unknown"] = Field(description="The answer.")
    reason: str = Field(description="The answer's cause in one word.", pattern="^[A-Za-z]+$", max_length=64)
    message: str = Field(description="The answer's cause in one sentence, and what can be done.", max_length=4096)
    observed_generation: int = Field(description="Generation of the object that was judged.", ge=0)
    last_transition_time: Timestamp = Field(description="When status last changed.")


class RevisionStatus(Part):
    """Pods of one revision."""

    revision: str = Field(description="Short hash of what makes up the revision.", max_length=63)
    replicas: int = Field(description="Pods wanted.", ge=0)
    ready: int = Field(description="Pods ready to answer.", ge=0)


class RestartStatus(Part):
    """The answer to the annotation llmfleet.dev/restart."""

    request: str = Field(
        description="Value of the annotation that was last acted on; one of more than 128 characters by its SHA-256.",
        max_length=128,
    )
    at: Timestamp = Field(description="When it was acted on; of a value the object was made with, when it was noted.")


class Status(Part):
    """What is going on, in one sentence and in parts."""

    observed_generation: int | None = Field(None, description="Generation of the spec that this status answers.", ge=0)
    summary: str | None = Field(None, description="What is going on, in one sentence.", max_length=4096)
    state: str | None = Field(None, description="The summary in a word or two.", max_length=64)
    endpoint: str | None = Field(None, description="Where clients reach the model inside the cluster.", max_length=512)
    model: str | None = Field(None, description="The name clients send as model.", max_length=256)
    profile: str | None = Field(None, description="The engine profile in use.", max_length=64)
    ready: str | None = Field(None, description="Ready and wanted replicas, such as 3/4.", max_length=32)
    replicas: int | None = Field(None, description="Pods of all revisions, for the scale subresource.", ge=0)
    selector: str | None = Field(None, description="Selects those pods, for the scale subresource.", max_length=512)
    stable: RevisionStatus | None = Field(None, description="The revision that users reach.")
    canary: RevisionStatus | None = Field(None, description="The revision that is to replace it.")
    restart: RestartStatus | None = Field(None, description="The restart that was last asked for.")
    conditions: Annotated[Items[Condition], list_map("type")] = Field(
        (),
        description="Standard conditions; page on Available False, unless its reason is ScaledToZero.",
        max_length=16,
    )
