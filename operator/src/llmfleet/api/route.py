"""The LLMRoute: where the requests of one model go. Written by the operator only, read by every gateway."""

from typing import Annotated, Final, Literal

from pydantic import Field

from llmfleet.api.markers import CustomResource, PrinterColumn, cel, list_map, list_set, rules
from llmfleet.api.names import GROUP, ROUTE_KIND, ROUTE_PLURAL, VERSION
from llmfleet.api.part import Items, Part
from llmfleet.api.status import Condition
from llmfleet.api.units import Duration, seconds

_WHOLE: Final = 100


class RouteArm(Part):
    """Engines of one revision, and their part of the requests."""

    revision: str = Field(description="Hash of the revision.", min_length=1, max_length=63)
    weight: int = Field(description="Percent of the conversations that it gets.", ge=0, le=100)
    at_once: int | None = Field(
        None, description="Requests that one of its engines runs at the same time. Default: no limit.", ge=1, le=65_536
    )


class Hold(Part):
    """What happens to requests while no engine is ready."""

    timeout: Duration = Field(description="How long a request waits for the first engine.")
    most: int = Field(description="How many requests may wait at a gateway.", ge=0, le=100_000)


@rules(
    cel(
        "self.arms.map(arm, arm.weight).sum() == 100",
        "the weights of the arms must sum up to 100",
        lambda spec: sum(arm.weight for arm in spec.arms) == _WHOLE,
        field_path=".arms",
    ),
)
class RouteSpec(Part):
    """Where the requests of a model go."""

    model: str = Field(description="The name clients send as model.", min_length=1, max_length=256)
    gateways: Annotated[Items[Annotated[str, Field(max_length=320)]], list_set()] = Field(
        description="Gateways that route it, as namespace/name.", max_length=16
    )
    arms: Annotated[Items[RouteArm], list_map("revision")] = Field(
        description="The stable revision, and the one that is to replace it.", min_length=1, max_length=2
    )
    balance: Literal["LeastRequests", "RoundRobin", "PrefixHash"] = Field(
        "LeastRequests", description="How an arm chooses among its engines."
    )
    hold: Hold | None = Field(None, description="What happens to requests while no engine is ready. Default: refused.")

    @property
    def hold_s(self) -> float:
        """How long a request waits for the first engine, in seconds."""
        return seconds(self.hold.timeout) if self.hold else 0.0


class RouteStatus(Part):
    """What the gateways do of it."""

    observed_generation: int | None = Field(None, description="Generation that this status answers.", ge=0)
    stable: str | None = Field(None, description="The revision that users reach.", max_length=63)
    canary: str | None = Field(None, description="The revision that is to replace it.", max_length=63)
    weight: int | None = Field(None, description="Percent of the conversations that go to the canary.", ge=0, le=100)
    conditions: Annotated[Items[Condition], list_map("type")] = Field(
        (), description="Programmed: whether every gateway pod does what the spec says.", max_length=4
    )


LLM_ROUTE: Final = CustomResource(
    group=GROUP,
    version=VERSION,
    kind=ROUTE_KIND,
    plural=ROUTE_PLURAL,
    singular="llmroute",
    description="Where the requests of one model go. llmfleet writes it for every LLMDeployment that a gateway "
    "selects; do not write it yourself.",
    spec=RouteSpec,
    status=RouteStatus,
    categories=("llmfleet",),
    printer_columns=(
        PrinterColumn("Model", ".spec.model", "string", "The name clients send as model."),
        PrinterColumn("Stable", ".status.stable", "string", "The revision that users reach."),
        PrinterColumn("Canary", ".status.canary", "string", "The revision that is to replace it."),
        PrinterColumn("Weight", ".status.weight", "integer", "Percent of the conversations that go to the canary."),
        PrinterColumn(
            "Programmed",
            '.status.conditions[?(@.type=="Programmed")].status',
            "string",
            "Every gateway pod does what the spec says.",
        ),
    ),
)
