"""The LLMDeployment: one model, its engine and how many replicas serve it."""

from typing import Annotated, Final

from pydantic import Field

from llmfleet.api.engine import Engine
from llmfleet.api.markers import CustomResource, PrinterColumn, Scale, cel, rules
from llmfleet.api.model import Model
from llmfleet.api.names import GROUP, KIND, PLURAL, VERSION
from llmfleet.api.part import Part
from llmfleet.api.patterns import compiled
from llmfleet.api.pod_template import PodTemplate
from llmfleet.api.resources import Resources
from llmfleet.api.status import Status
from llmfleet.api.units import DURATION_PATTERN, Duration, IntOrPercent, seconds

NAME_PATTERN: Final = "^[a-z]([-a-z0-9]*[a-z0-9])?$"
"""DNS-1035, because the name becomes a Service's."""
_LONGEST_NAME: Final = 50
_AT_LEAST_1S: Final = cel(
    # What is no duration at all has been refused by another rule, and has no length.
    f"!self.matches(r'{DURATION_PATTERN}') || duration(self) >= duration('1s')",
    "must be at least 1s",
    lambda text: seconds(text) >= 1,
)


class Startup(Part):
    """How long an engine may take to become ready."""

    deadline: Annotated[Duration, _AT_LEAST_1S] = Field(
        "30m",
        description="From scheduled to ready. A new revision that takes longer is reported and serves nothing; the one "
        "before goes on.",
    )


class Drain(Part):
    """How an engine stops."""

    timeout: Duration = Field(
        "5m", description="How long a stopping engine may go on to finish the answers it has begun."
    )


@rules(
    cel(
        "!(has(self.maxUnavailable) && has(self.minAvailable))",
        "give maxUnavailable or minAvailable, not both",
        lambda asked: asked.max_unavailable is None or asked.min_available is None,
    ),
)
class Disruption(Part):
    """How many pods a node drain or another eviction may take at once."""

    max_unavailable: IntOrPercent | None = Field(
        None, description="Pods of a revision that may be missing. Default: 1, unless minAvailable is given."
    )
    min_available: IntOrPercent | None = Field(None, description="Pods of a revision that must stay.")


class Rollout(Part):
    """How one revision follows another."""

    retain_stable: Duration = Field(
        "10m",
        description="How long the replaced revision stays ready, so that going back to it is immediate. It keeps its "
        "GPUs for that time, unless the new revision needs them.",
    )


@rules(
    cel(
        "!has(self.resources) || !has(self.resources.gpu) || !has(self.resources.gpu.count)"
        " || self.resources.gpu.count == 0 || self.resources.gpu.count =="
        " (has(self.engine) && has(self.engine.tensorParallelSize) ? self.engine.tensorParallelSize : 1)"
        " * (has(self.engine) && has(self.engine.pipelineParallelSize) ? self.engine.pipelineParallelSize : 1)",
        "resources.gpu.count must be engine.tensorParallelSize x engine.pipelineParallelSize, or 0 to run on CPUs: "
        "leave it out, or change one of the two",
        lambda spec: spec.gpus_fit,
        field_path=".resources",
    ),
)
class Spec(Part):
    """What is to be served, and how."""

    model: Model = Field(description="The model: where it comes from and what clients call it.")
    engine: Engine = Field(Engine(), description="The engine that serves the model.")
    resources: Resources = Field(Resources(), description="What one replica needs from a node.")
    pod_template: PodTemplate = Field(PodTemplate(), description="Laid over the engine's pods.")
    replicas: int = Field(1, description="Engines that serve the model; `kubectl scale` changes it.", ge=0, le=1000)
    startup: Startup = Field(Startup(), description="How long an engine may take to become ready.")
    drain: Drain = Field(Drain(), description="How an engine stops.")
    disruption: Disruption = Field(Disruption(), description="How many pods an eviction may take at once.")
    rollout: Rollout = Field(Rollout(), description="How one revision follows another.")
    revision_history_limit: int = Field(
        5, description="Revisions remembered beside those that run, to go back to.", ge=0, le=50
    )

    @property
    def gpu_count(self) -> int:
        """GPUs of one replica; 0 means that the engine runs on CPUs."""
        asked = self.resources.gpu.count if self.resources.gpu else None
        needs_gpu = self.profile != "sim"
        return asked if asked is not None else self.parallelism * needs_gpu

    @property
    def parallelism(self) -> int:
        """Parts that the model is cut into, each for one GPU."""
        return (self.engine.tensor_parallel_size or 1) * (self.engine.pipeline_parallel_size or 1)

    @property
    def gpus_fit(self) -> bool:
        """Whether the number of GPUs, where one is given, is what the engine's parallelism needs."""
        asked = self.resources.gpu.count if self.resources.gpu else None
        return not asked or asked == self.parallelism

    @property
    def profile(self) -> str:
        """Name of the engine profile."""
        return self.engine.profile or "vllm"

    @property
    def startup_deadline_s(self) -> float:
        """From scheduled to ready, in seconds."""
        return seconds(self.startup.deadline)

    @property
    def drain_timeout_s(self) -> float:
        """From the order to stop to the end of the last answer, in seconds."""
        return seconds(self.drain.timeout)

    @property
    def retain_stable_s(self) -> float:
        """How long a replaced revision is kept ready, in seconds."""
        return seconds(self.rollout.retain_stable)


LLM_DEPLOYMENT: Final = CustomResource(
    group=GROUP,
    version=VERSION,
    kind=KIND,
    plural=PLURAL,
    singular="llmdeployment",
    description="One model served by a fleet of engines. llmfleet keeps the asked number of replicas of the newest "
    "revision that works behind one Service, and replaces revisions without losing a request.",
    spec=Spec,
    status=Status,
    rules=(
        cel(
            f"self.metadata.name.matches('{NAME_PATTERN}') && size(self.metadata.name) <= {_LONGEST_NAME}",
            f"metadata.name becomes the name of a Service: at most {_LONGEST_NAME} lower-case letters, digits and '-', "
            "beginning with a letter",
            lambda name: len(name) <= _LONGEST_NAME and compiled(NAME_PATTERN).search(name) is not None,
            field_path=".metadata.name",
        ),
    ),
    short_names=("llm",),
    categories=("all", "llmfleet"),
    printer_columns=(
        PrinterColumn("Ready", '.status.conditions[?(@.type=="Ready")].status', "string", "What was asked for runs."),
        PrinterColumn("Status", ".status.state", "string", "What is going on, in a word or two."),
        PrinterColumn("Replicas", ".status.ready", "string", "Ready and wanted replicas."),
        PrinterColumn("Age", ".metadata.creationTimestamp", "date", "Time since the object was made."),
        PrinterColumn("Model", ".status.model", "string", "The name clients send as model.", 1),
        PrinterColumn("Engine", ".status.profile", "string", "The engine profile.", 1),
        PrinterColumn("Revision", ".status.stable.revision", "string", "The revision that users reach.", 1),
        PrinterColumn("Endpoint", ".status.endpoint", "string", "Where clients reach the model.", 1),
        PrinterColumn("Summary", ".status.summary", "string", "What is going on, in one sentence.", 1),
    ),
    scale=Scale(),
)
