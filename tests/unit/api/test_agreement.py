"""What a schema lets in, the model it was made from reads: else an accepted object would stop the operator."""

from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from llmfleet.api.deployment import Spec
from llmfleet.api.schema import schema_of
from llmfleet.api.status import Status
from tests.unit.api.made_models import STRUCTS

Schema = dict[str, Any]
LETTERS = st.characters(codec="utf-8", categories=["L", "N", "P", "Zs"])
ANYTHING = st.dictionaries(
    st.text(LETTERS, max_size=3), st.none() | st.integers() | st.text(LETTERS, max_size=3), max_size=2
)


def values(schema: Schema) -> st.SearchStrategy[Any]:
    """Values that the schema accepts, as far as it says without CEL."""
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    made: dict[str | None, Callable[[Schema], st.SearchStrategy[Any]]] = {
        "object": objects,
        "array": lists,
        "string": texts,
        "integer": integers,
        "number": numbers,
        "boolean": lambda _: st.booleans(),
        None: lambda schema: integers(schema) | texts(schema),  # int or string
    }
    return made[schema.get("type")](schema)


def objects(schema: Schema) -> st.SearchStrategy[Any]:
    if "additionalProperties" in schema:
        most = min(2, schema["maxProperties"])
        return st.dictionaries(st.text(LETTERS, max_size=9), values(schema["additionalProperties"]), max_size=most)
    if "properties" not in schema:
        return ANYTHING
    required = schema.get("required", [])
    fields = {name: values(field) for name, field in schema["properties"].items()}
    optional = {name: field for name, field in fields.items() if name not in required}
    return st.fixed_dictionaries({name: fields[name] for name in required}, optional=optional)


def lists(schema: Schema) -> st.SearchStrategy[Any]:
    least = schema.get("minItems", 0)
    return st.lists(values(schema["items"]), min_size=least, max_size=min(least + 2, schema["maxItems"]))


def integers(schema: Schema) -> st.SearchStrategy[int]:
    low, high = bounds(schema, -(2**63), 2**63 - 1)
    return st.integers(low + ("exclusiveMinimum" in schema), high - ("exclusiveMaximum" in schema))


def numbers(schema: Schema) -> st.SearchStrategy[float]:
    low, high = bounds(schema, None, None)
    without_low, without_high = "exclusiveMinimum" in schema, "exclusiveMaximum" in schema
    return st.floats(
        low, high, exclude_min=without_low, exclude_max=without_high, allow_nan=False, allow_infinity=False
    )


def bounds(schema: Schema, lowest: int | None, highest: int | None) -> tuple[Any, Any]:
    return schema.get("minimum", lowest), schema.get("maximum", highest)


def texts(schema: Schema) -> st.SearchStrategy[str]:
    if schema.get("format") == "date-time":
        return st.datetimes().map(lambda moment: f"{moment.isoformat(timespec='seconds')}Z")
    least, most = schema.get("minLength", 0), schema["maxLength"]
    if "pattern" not in schema:
        return st.text(LETTERS, min_size=least, max_size=most)
    # `$` lets Python, but neither Go nor Rust, accept a line break at the end.
    found = st.from_regex(schema["pattern"], alphabet=st.characters(codec="ascii"))
    return found.filter(lambda text: least <= len(text) <= most and not text.endswith("\n"))


SLOW = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)


@SLOW
@given(values(schema_of(Spec, "spec")))
def test_every_spec_that_the_schema_accepts_is_read(spec: Schema) -> None:
    Spec.model_validate(spec)


@SLOW
@given(values(schema_of(Status, "status", defaults=False)))
def test_every_status_that_the_schema_accepts_is_read(status: Schema) -> None:
    Status.model_validate(status)


@SLOW
@given(st.data(), STRUCTS)
def test_every_value_that_a_made_up_schema_accepts_is_read(data: st.DataObject, model: type[BaseModel]) -> None:
    model.model_validate(data.draw(values(schema_of(model, "spec"))))
