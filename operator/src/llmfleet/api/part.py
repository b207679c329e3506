"""The base of every model: how a field of the Python model and a field of the stored object correspond."""

from typing import Annotated, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Strict, model_validator
from pydantic.alias_generators import to_camel

from llmfleet.api.markers import rules_of

ItemT = TypeVar("ItemT")

Items = Annotated[tuple[ItemT, ...], Strict(strict=False)]
"""A list of a stored object, frozen: the one place where JSON and the model have different types."""


class Part(BaseModel):
    """A frozen piece of an object, camelCase outside and snake_case inside.

    Nothing is converted: "3" is no number and 1 no boolean, here as for the API server. Unknown fields are ignored: an
    operator may be older than the CustomResourceDefinition it meets. Whoever writes an unknown field learns it from the
    API server, which knows the schema.
    """

    model_config = ConfigDict(frozen=True, strict=True, alias_generator=to_camel, populate_by_name=True, extra="ignore")

    @model_validator(mode="after")
    def _keep_rules(self) -> Self:
        """Apply the rules that `@rules` put on the struct."""
        for rule in rules_of(type(self)):
            rule.check(self)
        return self
