"""Made-up pydantic models, for properties that hold for every model."""

from typing import Annotated, Any

from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, create_model
from pydantic.alias_generators import to_camel

from llmfleet.api.markers import int_or_string, preserve_unknown


class Part(BaseModel):
    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True, extra="ignore")


LEAVES = st.sampled_from(
    [
        (bool, ...),
        (bool | None, None),
        (int, 3),
        (Annotated[int, Field(ge=0, lt=10)], ...),
        (Annotated[float, Field(gt=0, le=1)] | None, None),
        (Annotated[str, Field(max_length=9)], "a"),
        (Annotated[int | str, int_or_string(max_length=9)], ...),
        (Annotated[dict[str, Any], preserve_unknown()] | None, None),
    ]
)


def _struct(fields: list[tuple[Any, Any]]) -> type[BaseModel]:
    named = {f"f_{n}": (kind, Field(default, description="A field.")) for n, (kind, default) in enumerate(fields)}
    return create_model("Made", __base__=Part, __doc__="A struct.", **named)  # type: ignore[call-overload, no-any-return]


def _nested(structs: st.SearchStrategy[type[BaseModel]]) -> st.SearchStrategy[type[BaseModel]]:
    def wrap(struct: type[BaseModel], shape: str) -> tuple[Any, Any]:
        match shape:
            case "list":
                return Annotated[tuple[struct, ...], Field(max_length=3)], ()  # type: ignore[valid-type]
            case "map":
                return Annotated[dict[str, struct], Field(max_length=3)] | None, None  # type: ignore[valid-type]
            case "optional":
                return struct | None, None
            case _:
                return struct, ...

    shapes = st.sampled_from(["list", "map", "optional", "required"])
    return st.lists(LEAVES | st.builds(wrap, structs, shapes), min_size=1, max_size=4).map(_struct)


STRUCTS = st.recursive(st.lists(LEAVES, min_size=1, max_size=4).map(_struct), _nested, max_leaves=4)
