"""The converter: every pydantic construct is either translated as a CustomResourceDefinition needs it, or refused."""

from collections.abc import Callable
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import IntEnum, StrEnum
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, create_model
from pydantic.alias_generators import to_camel

from llmfleet.api.markers import (
    cel,
    int_or_string,
    list_atomic,
    list_map,
    list_set,
    map_atomic,
    preserve_unknown,
    rules,
)
from llmfleet.api.schema import schema_of
from llmfleet.api.structural import SchemaError


class Colour(StrEnum):
    """The colour of a thing."""

    RED = "red"
    GREEN = "green"


class Level(IntEnum):
    """The level of a thing."""

    LOW = 1
    HIGH = 2


class Limits(BaseModel):
    """Limits of a thing."""

    upper: int = Field(3, description="Upper limit.", ge=0, le=9)
    lower: int | None = Field(None, description="Lower limit.", ge=0, le=9)


class Plain(BaseModel):
    """A struct whose fields have no defaults."""

    name: str | None = Field(None, description="A name.", max_length=9)


class Item(BaseModel):
    """An item."""

    name: str = Field(description="Its name.", max_length=63)


@rules(cel("self.low <= self.high", "low must not exceed high", field_path=".low"))
class Span(BaseModel):
    """A span."""

    low: int = Field(description="Low end.", ge=0, le=9)
    high: int = Field(description="High end.", ge=0, le=9)


@rules(cel("self.high > 0", "high must be positive", reason="FieldValueForbidden"))
class StrictSpan(Span):
    """A span above zero."""


class Node(BaseModel):
    """A tree."""

    children: Annotated[list["Node"], Field(max_length=3, description="Further nodes.")] = []


class Cat(BaseModel):
    """A cat."""

    kind: Literal["cat"] = Field(description="Its kind.")


class Dog(BaseModel):
    """A dog."""

    kind: Literal["dog"] = Field(description="Its kind.")


class Undescribed(BaseModel):
    """A struct with a field that says nothing of itself."""

    name: Annotated[str, Field(max_length=9)]


class Strict(BaseModel):
    """A struct that refuses unknown fields in Python."""

    model_config = ConfigDict(extra="forbid")
    name: str = Field(description="A name.", max_length=9)


class Open(BaseModel):
    """A struct that keeps unknown fields."""

    model_config = ConfigDict(extra="allow")
    name: str = Field(description="A name.", max_length=9)


ANY = dict[str, Any]
SHORT = Annotated[str, Field(max_length=9)]


def struct(annotation: Any, default: Any = ..., **extra: Any) -> type[BaseModel]:
    """A struct with one field, `field`."""
    field = Field(default, description="A field.", **extra)
    return create_model("Struct", __doc__="A struct.", field=(annotation, field))


def converted(annotation: Any, default: Any = ..., **extra: Any) -> dict[str, Any]:
    """What a field of this type becomes, without its description."""
    schema: dict[str, Any] = schema_of(struct(annotation, default, **extra), "spec")["properties"]["field"]
    assert schema.pop("description") == "A field."
    return schema


INT32 = {"type": "integer", "format": "int32"}
SHORT_SCHEMA = {"type": "string", "maxLength": 9}
LIMITS_SCHEMA = {
    "type": "object",
    "properties": {
        "upper": {"description": "Upper limit.", **INT32, "default": 3, "minimum": 0, "maximum": 9},
        "lower": {"description": "Lower limit.", **INT32, "minimum": 0, "maximum": 9},
    },
}
ITEM_SCHEMA = {
    "description": "An item.",
    "type": "object",
    "required": ["name"],
    "properties": {"name": {"description": "Its name.", "type": "string", "maxLength": 63}},
}

TRANSLATED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "reference is inlined": ({"annotation": Limits}, LIMITS_SCHEMA),
    "Optional is collapsed, its null default stripped": (
        {"annotation": SHORT | None, "default": None},
        SHORT_SCHEMA,
    ),
    "Optional struct": ({"annotation": Limits | None, "default": None}, LIMITS_SCHEMA),
    "Optional with a default": ({"annotation": SHORT | None, "default": "a"}, {**SHORT_SCHEMA, "default": "a"}),
    "const is an enum of one": ({"annotation": Literal["a"]}, {"type": "string", "enum": ["a"]}),
    "Literal": (
        {"annotation": Literal["a", "b"], "default": "a"},
        {"type": "string", "default": "a", "enum": ["a", "b"]},
    ),
    "Optional Literal": ({"annotation": Literal[1, 2] | None, "default": None}, {"type": "integer", "enum": [1, 2]}),
    "StrEnum": (
        {"annotation": Colour, "default": Colour.RED},
        {"type": "string", "default": "red", "enum": ["red", "green"]},
    ),
    "IntEnum": ({"annotation": Level}, {"type": "integer", "enum": [1, 2]}),
    "exclusive bounds are booleans": (
        {"annotation": float, "gt": 0, "lt": 1},
        {"type": "number", "minimum": 0, "exclusiveMinimum": True, "maximum": 1, "exclusiveMaximum": True},
    ),
    "inclusive bounds": ({"annotation": float, "ge": 0, "le": 1}, {"type": "number", "minimum": 0, "maximum": 1}),
    "small integer": ({"annotation": int, "ge": 0, "le": 9}, {**INT32, "minimum": 0, "maximum": 9}),
    "unbounded integer": ({"annotation": int}, {"type": "integer", "format": "int64"}),
    "half-bounded integer": ({"annotation": int, "ge": 0}, {"type": "integer", "format": "int64", "minimum": 0}),
    "large integer": (
        {"annotation": int, "ge": 0, "le": 2**31},
        {"type": "integer", "format": "int64", "minimum": 0, "maximum": 2**31},
    ),
    "integer with its own format": ({"annotation": int, "json_schema_extra": {"format": "int32"}}, INT32),
    "multiple": ({"annotation": int, "multiple_of": 8}, {"type": "integer", "format": "int64", "multipleOf": 8}),
    "boolean": ({"annotation": bool, "default": False}, {"type": "boolean", "default": False}),
    "zero is a default": ({"annotation": float, "default": 0.0}, {"type": "number", "default": 0.0}),
    "empty text is a default": ({"annotation": SHORT, "default": ""}, {**SHORT_SCHEMA, "default": ""}),
    "pattern": (
        {"annotation": str, "pattern": "^a+$", "min_length": 1, "max_length": 9},
        {"type": "string", "pattern": "^a+$", "minLength": 1, "maxLength": 9},
    ),
    "time": ({"annotation": datetime}, {"type": "string", "format": "date-time"}),
    "int | str": (
        {"annotation": int | SHORT, "default": 1},
        {"x-kubernetes-int-or-string": True, "default": 1, "maxLength": 9},
    ),
    "bounds of both branches of int | str": (
        {"annotation": Annotated[int, Field(gt=0)] | Annotated[str, Field(max_length=9, pattern="^a$")]},
        {
            "x-kubernetes-int-or-string": True,
            "pattern": "^a$",
            "maxLength": 9,
            "minimum": 0,
            "exclusiveMinimum": True,
        },
    ),
    "int | str | None": (
        {"annotation": int | SHORT | None, "default": None},
        {"x-kubernetes-int-or-string": True, "maxLength": 9},
    ),
    "int_or_string": (
        {"annotation": Annotated[int | str, int_or_string(max_length=4, minimum=0, maximum=9)]},
        {"x-kubernetes-int-or-string": True, "maxLength": 4, "minimum": 0, "maximum": 9},
    ),
    "map": (
        {"annotation": dict[str, SHORT], "max_length": 5, "min_length": 1},
        {"type": "object", "minProperties": 1, "maxProperties": 5, "additionalProperties": SHORT_SCHEMA},
    ),
    "map with bounded keys": (
        {"annotation": dict[SHORT, SHORT], "max_length": 5},
        {
            "type": "object",
            "maxProperties": 5,
            "x-kubernetes-validations": [
                {"rule": "self.all(key, size(key) <= 9)", "message": "a key has at most 9 characters"}
            ],
            "additionalProperties": SHORT_SCHEMA,
        },
    ),
    "opaque object": (
        {"annotation": Annotated[ANY, preserve_unknown()]},
        {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    ),
    "Optional opaque object": (
        {"annotation": Annotated[ANY, preserve_unknown()] | None, "default": None},
        {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    ),
    "struct with further, opaque fields": (
        {"annotation": Annotated[Open, preserve_unknown()]},
        {
            "type": "object",
            "x-kubernetes-preserve-unknown-fields": True,
            "required": ["name"],
            "properties": {"name": {"description": "A name.", **SHORT_SCHEMA}},
        },
    ),
    "extra=forbid is dropped": (
        {"annotation": Strict},
        {
            "type": "object",
            "required": ["name"],
            "properties": {"name": {"description": "A name.", **SHORT_SCHEMA}},
        },
    ),
    "list": (
        {"annotation": Annotated[list[SHORT], list_atomic()], "min_length": 1, "max_length": 5},
        {
            "type": "array",
            "minItems": 1,
            "maxItems": 5,
            "x-kubernetes-list-type": "atomic",
            "items": SHORT_SCHEMA,
        },
    ),
    "tuple of any length": (
        {"annotation": tuple[SHORT, ...], "default": ("a",), "max_length": 5},
        {"type": "array", "default": ["a"], "maxItems": 5, "items": SHORT_SCHEMA},
    ),
    "set": (
        {"annotation": frozenset[SHORT], "max_length": 5},
        {"type": "array", "maxItems": 5, "x-kubernetes-list-type": "set", "items": SHORT_SCHEMA},
    ),
    "list_set": (
        {"annotation": Annotated[list[SHORT], list_set()], "max_length": 5},
        {"type": "array", "maxItems": 5, "x-kubernetes-list-type": "set", "items": SHORT_SCHEMA},
    ),
    "list_map": (
        {"annotation": Annotated[list[Item], list_map("name")], "max_length": 5},
        {
            "type": "array",
            "maxItems": 5,
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
            "items": ITEM_SCHEMA,
        },
    ),
    "map_atomic": (
        {"annotation": Annotated[Item, map_atomic()]},
        {**{key: ITEM_SCHEMA[key] for key in ("type", "required", "properties")}, "x-kubernetes-map-type": "atomic"},
    ),
    "empty list and map defaults are absence": (
        {"annotation": list[SHORT], "default": [], "max_length": 5},
        {"type": "array", "maxItems": 5, "items": SHORT_SCHEMA},
    ),
    "default instance is {} so that nested defaults apply": (
        {"annotation": Limits, "default": Limits()},
        {**LIMITS_SCHEMA, "default": {}},
    ),
    "default_factory is a default": (
        {"annotation": Limits, "default_factory": Limits},
        {**LIMITS_SCHEMA, "default": {}},
    ),
    "default instance with values of its own": (
        {"annotation": Limits, "default": Limits(upper=5)},
        {**LIMITS_SCHEMA, "default": {"upper": 5}},
    ),
    "default instance without nested defaults is absence": (
        {"annotation": Plain, "default": Plain()},
        {"type": "object", "properties": {"name": {"description": "A name.", **SHORT_SCHEMA}}},
    ),
    "default list of structs": (
        {"annotation": tuple[Item, ...], "default": (Item(name="a"),), "max_length": 2},
        {"type": "array", "default": [{"name": "a"}], "maxItems": 2, "items": ITEM_SCHEMA},
    ),
    "rule on a field": (
        {"annotation": Annotated[SHORT, cel("self != ''", "must not be empty")]},
        {**SHORT_SCHEMA, "x-kubernetes-validations": [{"rule": "self != ''", "message": "must not be empty"}]},
    ),
    "rule on an Optional field": (
        {"annotation": Annotated[SHORT | None, cel("self != ''", "must not be empty")], "default": None},
        {**SHORT_SCHEMA, "x-kubernetes-validations": [{"rule": "self != ''", "message": "must not be empty"}]},
    ),
}


@pytest.mark.parametrize(("arguments", "expected"), TRANSLATED.values(), ids=TRANSLATED.keys())
def test_is_translated(arguments: dict[str, Any], expected: dict[str, Any]) -> None:
    assert converted(**arguments) == expected


REFUSED: dict[str, tuple[Callable[[], Any], str, str]] = {
    "recursion": (lambda: Node, "spec.field.children[]", "contains itself"),
    "discriminated union": (
        lambda: Annotated[Cat | Dog, Field(discriminator="kind")],
        "spec.field",
        "give each variant an optional field",
    ),
    "union of structs": (lambda: Cat | Dog, "spec.field", "union"),
    "union of scalars": (lambda: bool | SHORT, "spec.field", "union"),
    "union with None beside others": (lambda: Cat | Dog | None, "spec.field", "default None"),
    "Optional that is required": (lambda: SHORT | None, "spec.field", "null cannot be required"),
    "dict of anything": (lambda: ANY, "spec.field", "preserve_unknown()"),
    "anything": (lambda: Any, "spec.field", "any type"),
    "opaque scalar": (lambda: Annotated[SHORT, preserve_unknown()], "spec.field", "says nothing about type string"),
    "opaque closed struct": (lambda: Annotated[Item, preserve_unknown()], "spec.field", "extra='allow'"),
    "open struct": (lambda: Open, "spec.field", "preserve_unknown()"),
    "tuple of fixed length": (lambda: tuple[int, int], "spec.field", "tuple of fixed length"),
    "list of anything": (lambda: Annotated[list, Field(max_length=1)], "spec.field[]", "any type"),
    "timedelta": (lambda: timedelta, "spec.field", "format 'duration'"),
    "date": (lambda: date, "spec.field", "format 'date'"),
    "Decimal": (lambda: Decimal, "spec.field", "union"),
    "look-ahead": (
        lambda: Annotated[str, Field(max_length=9, json_schema_extra={"pattern": "(?=a)b"})],
        "spec.field",
        "look-ahead",
    ),
    "mixed Literal": (lambda: Literal["a", 1], "spec.field", "of one type"),
    "Literal with None": (lambda: Literal["a", None], "spec.field", "Literal[...] | None"),  # noqa: PYI061
    "unbounded string": (lambda: str, "spec.field", "a string must be bounded"),
    "string bounded by a pattern only": (lambda: Annotated[str, Field(pattern="^a$")], "spec.field", "bounded"),
    "unbounded list": (lambda: list[SHORT], "spec.field", "a list must be bounded"),
    "unbounded string in a list": (lambda: Annotated[list[str], Field(max_length=1)], "spec.field[]", "a string"),
    "unbounded map": (lambda: dict[str, SHORT], "spec.field", "a map must be bounded"),
    "unbounded string in a map": (lambda: Annotated[dict[str, str], Field(max_length=1)], "spec.field{}", "a string"),
    "unbounded int | str": (lambda: int | str, "spec.field", "the string form must be bounded"),
    "pattern of keys": (
        lambda: Annotated[dict[Annotated[str, Field(pattern="^a$")], int], Field(max_length=1)],
        "spec.field",
        "pattern of keys",
    ),
    "field without description": (lambda: Undescribed, "spec.field.name", "has no description"),
    "minimum and exclusiveMinimum": (
        lambda: Annotated[int, Field(json_schema_extra={"minimum": 0, "exclusiveMinimum": 0})],
        "spec.field",
        "give one",
    ),
    "examples": (lambda: Annotated[SHORT, Field(examples=["a"])], "spec.field", "put them into the description"),
    "deprecated": (lambda: Annotated[SHORT, Field(deprecated=True)], "spec.field", "say so in the description"),
    "unknown keyword": (
        lambda: Annotated[SHORT, Field(json_schema_extra={"readOnly": True})],
        "spec.field",
        "readOnly cannot be expressed",
    ),
}


@pytest.mark.parametrize(("annotation", "path", "why"), REFUSED.values(), ids=REFUSED.keys())
def test_is_refused_with_its_path(annotation: Callable[[], Any], path: str, why: str) -> None:
    with pytest.raises(SchemaError) as refusal:
        schema_of(struct(annotation()), "spec")
    assert refusal.value.path == path
    assert why in refusal.value.why
    assert str(refusal.value).startswith(f"{path}: ")


def test_a_default_made_from_other_fields_is_refused() -> None:
    class Derived(BaseModel):
        """A struct."""

        name: SHORT = Field(description="A name.")
        field: SHORT = Field(description="A field.", default_factory=lambda data: data["name"])

    with pytest.raises(SchemaError, match=r"spec\.field: a default computed from other fields"):
        schema_of(Derived, "spec")


def test_recursion_of_the_struct_itself_is_refused() -> None:
    with pytest.raises(SchemaError, match=r"spec\.children\[\]: Node contains itself"):
        schema_of(Node, "spec")


def test_a_struct_may_be_used_many_times() -> None:
    class Twice(BaseModel):
        """Two of a kind."""

        one: Item = Field(description="One.")
        other: Item | None = Field(None, description="The other.")

    schema = schema_of(Twice, "spec")
    assert schema["properties"]["one"] == {**ITEM_SCHEMA, "description": "One."}
    assert schema["properties"]["other"] == {**ITEM_SCHEMA, "description": "The other."}
    assert schema["required"] == ["one"]


def test_a_struct_without_docstring_is_refused() -> None:
    bare = create_model("Bare", field=(SHORT, Field(description="A field.")))
    with pytest.raises(SchemaError, match="spec: Bare needs a docstring"):
        schema_of(bare, "spec")


def test_names_are_those_of_the_stored_object() -> None:
    class Camel(BaseModel):
        """A struct."""

        model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)
        one_thing: SHORT = Field(description="One.")
        other: Limits = Field(Limits(), description="Other.")

    schema = schema_of(Camel, "spec")
    assert list(schema["properties"]) == ["oneThing", "other"]
    assert schema["required"] == ["oneThing"]


def test_rules_of_a_struct_come_before_those_of_its_field_and_after_those_of_its_base() -> None:
    rule = cel("self.low > 1", "low must be above 1")
    schema = converted(Annotated[StrictSpan, rule])
    assert schema["x-kubernetes-validations"] == [
        {"rule": "self.low <= self.high", "message": "low must not exceed high", "fieldPath": ".low"},
        {"rule": "self.high > 0", "message": "high must be positive", "reason": "FieldValueForbidden"},
        {"rule": "self.low > 1", "message": "low must be above 1"},
    ]


def test_rules_of_a_struct_do_not_reach_its_base() -> None:
    assert len(schema_of(Span, "spec")["x-kubernetes-validations"]) == 1


def test_defaults_can_be_left_out() -> None:
    schema = schema_of(struct(Limits, Limits(upper=5)), "status", defaults=False)
    assert "default" not in str(schema)


def test_a_docstring_flows_and_keeps_paragraphs_and_lists() -> None:
    class Long(BaseModel):
        """A first line.

        A paragraph that
        goes on.
        - an item
          that goes on
        - another
        """

        field: int = Field(description="A field.")

    assert schema_of(Long, "spec")["description"] == (
        "A first line.\n\nA paragraph that goes on.\n- an item that goes on\n- another"
    )


def test_the_description_comes_first_and_the_fields_in_their_order() -> None:
    schema = schema_of(Span, "spec")
    assert list(schema) == ["description", "type", "x-kubernetes-validations", "required", "properties"]
    assert list(schema["properties"]) == ["low", "high"]
    assert list(schema["properties"]["low"]) == ["description", "type", "format", "minimum", "maximum"]
