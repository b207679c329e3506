"""The base of every model: how a field of the Python model and a field of the stored object correspond."""

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


class Part(BaseModel):
    """A frozen piece of an object, camelCase outside and snake_case inside.

    Unknown fields are ignored: an operator may be older than the CustomResourceDefinition it meets. Whoever writes an
    unknown field learns it from the API server, which knows the schema.
    """

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True, extra="ignore")
