"""The CustomResourceDefinition as a whole, and its YAML."""

import dataclasses
import re
from pathlib import Path
from typing import Annotated, Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field, create_model

from llmfleet.api.crd import HEADER, crd, dump
from llmfleet.api.deployment import LLM_DEPLOYMENT
from llmfleet.api.markers import (
    CustomResource,
    PrinterColumn,
    Scale,
    cel,
    int_or_string,
    list_map,
    preserve_unknown,
    rules,
    text_matches,
)
from llmfleet.api.schema import schema_of
from llmfleet.api.structural import SchemaError, check_structural, walk
from tests.unit.api.made_models import STRUCTS, Part

GOLDEN = Path(__file__).parent / "golden" / "widget.yaml"


class Wheel(Part):
    """One wheel."""

    name: str = Field(description="Which wheel.", max_length=63)
    size: Annotated[
        int | str, int_or_string(max_length=8), text_matches("^[0-9]+mm$", "must be a length such as 30mm")
    ] = Field("30mm", description="Size.")


class Motor(Part):
    """What drives the widget."""

    power_limit: float = Field(0.5, description="Share of the full power.", gt=0, le=1)
    extras: Annotated[dict[str, Any], preserve_unknown()] | None = Field(None, description="Whatever the maker says.")


@rules(
    cel(
        "self.replicas <= size(self.wheels)",
        "replicas must not exceed the number of wheels, since each of them needs one: add wheels or lower replicas",
        field_path=".replicas",
    )
)
class WidgetSpec(Part):
    """What is wanted.

    A description that goes on
    over two lines.
    """

    replicas: int = Field(1, description="How many.", ge=0, le=100)
    wheels: Annotated[tuple[Wheel, ...], list_map("name")] = Field(description="The wheels.", max_length=4)
    motor: Motor = Field(Motor(), description="The motor.")


class WidgetStatus(Part):
    """What is."""

    replicas: int = Field(0, description="How many there are.", ge=0)
    selector: str | None = Field(None, description="Selects them.", max_length=256)


WIDGET = CustomResource(
    group="test.llmfleet.dev",
    version="v1",
    kind="Widget",
    plural="widgets",
    singular="widget",
    description="A thing.",
    spec=WidgetSpec,
    status=WidgetStatus,
    rules=(cel("size(self.metadata.name) <= 50", "metadata.name has at most 50 characters"),),
    short_names=("wd",),
    categories=("all",),
    printer_columns=(
        PrinterColumn("Replicas", ".spec.replicas", "integer", "How many are wanted.", format="int32"),
        PrinterColumn("Power", ".spec.motor.powerLimit", "number", "The motor's limit.", priority=1),
        PrinterColumn("Age", ".metadata.creationTimestamp", "date", "Time since it was made."),
    ),
    scale=Scale(),
)


def test_a_small_kind_gives_the_golden_definition() -> None:
    assert dump(crd(WIDGET)) == GOLDEN.read_text()


def test_the_yaml_says_what_the_definition_says() -> None:
    assert yaml.safe_load(dump(crd(WIDGET))) == crd(WIDGET)


def test_a_kind_without_extras_has_no_empty_keys() -> None:
    bare = CustomResource(
        group="a.b", version="v1", kind="Thing", plural="things", singular="thing", description="A.", spec=WidgetSpec
    )
    spec = crd(bare)["spec"]
    assert set(spec["names"]) == {"kind", "listKind", "plural", "singular"}
    assert set(spec["versions"][0]) == {"name", "served", "storage", "schema"}
    assert set(spec["versions"][0]["schema"]["openAPIV3Schema"]["properties"]) == {
        "apiVersion",
        "kind",
        "metadata",
        "spec",
    }


def test_status_defaults_nothing() -> None:
    root = crd(WIDGET)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    assert not [path for path, node in walk(root["properties"]["status"]) if "default" in node]


def test_a_rule_of_the_object_can_point_at_its_name() -> None:
    pointing = cel("size(self.metadata.name) <= 50", "too long", field_path=".metadata.name")
    root = crd(dataclasses.replace(WIDGET, rules=(pointing,)))["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    assert root["properties"]["metadata"] == {"type": "object", "properties": {"name": {"type": "string"}}}


@pytest.mark.parametrize(
    ("scale", "why"),
    [
        (Scale(spec_replicas=".spec.count"), "scale: there is no such field"),
        (Scale(status_replicas=".status.selector"), "a field of type integer"),
        (Scale(selector=".status.replicas"), "a field of type string"),
        (Scale(spec_replicas="spec.replicas"), "not a JSON path"),
    ],
)
def test_scale_paths_must_lead_to_the_right_fields(scale: Scale, why: str) -> None:
    with pytest.raises(SchemaError, match=why):
        crd(dataclasses.replace(WIDGET, scale=scale))


@pytest.mark.parametrize(
    ("path", "accepted"),
    [
        (".spec.motor.powerLimit", True),
        ('.spec.wheels[?(@.name=="front")].size', True),
        (".spec.wheels[0].name", True),
        (".metadata.labels.app", True),
        (".spec.motor.power", False),
        (".spec.wheels.name", False),
        (".status.replicas[0]", False),
        ("{.spec.replicas}", False),
    ],
)
def test_columns_must_lead_to_fields(path: str, accepted: bool) -> None:  # noqa: FBT001
    changed = dataclasses.replace(WIDGET, printer_columns=(PrinterColumn("X", path, "string", "X."),))
    if accepted:
        crd(changed)
    else:
        with pytest.raises(SchemaError, match="column X"):
            crd(changed)


def test_errors_of_a_model_name_the_field() -> None:
    broken = create_model("Broken", __doc__="A struct.", wheels=(list[Wheel], Field(description="The wheels.")))
    with pytest.raises(SchemaError, match=r"^spec\.wheels: a list must be bounded"):
        crd(dataclasses.replace(WIDGET, spec=broken, scale=None, printer_columns=()))


def test_the_models_of_llmfleet_convert() -> None:
    definition = crd(LLM_DEPLOYMENT)
    assert yaml.safe_load(dump(definition)) == definition


TEXT = st.text(max_size=200) | st.sampled_from(
    ["y", "1e3", "0x1F", "1_000", "on", "null", "~", "2026-11-21", "a: b", ""]
)
JSON = st.recursive(
    TEXT | st.booleans() | st.integers() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(TEXT, JSON, max_size=4))
def test_any_content_survives_the_yaml(content: dict[str, Any]) -> None:
    assert yaml.safe_load(dump(content)) == content


# The numbers of YAML 1.2 (https://yaml.org/spec/1.2.2/#1032-tag-resolution) and the booleans of 1.1.
NUMBER = re.compile(r"[-+]?(0o[0-7]+|0x[0-9a-fA-F]+|(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?)|[yYnN]")


@given(TEXT | st.from_regex(NUMBER, fullmatch=True))
def test_text_is_no_number_or_boolean_to_other_yaml_parsers(text: str) -> None:
    if NUMBER.fullmatch(text):
        assert dump({"a": text}) != f"{HEADER}a: {text}\n"


@settings(max_examples=60, deadline=None)
@given(STRUCTS)
def test_whatever_converts_is_structural_and_always_the_same(model: type[BaseModel]) -> None:
    schema = schema_of(model, "spec")
    check_structural({"type": "object", "properties": {"spec": schema}})
    assert dump(schema) == dump(schema_of(model, "spec"))
    for _, node in walk(schema):
        assert not node.keys() & {"$ref", "anyOf", "title", "nullable", "const"}
        assert set(node.get("required", [])) <= node.get("properties", {}).keys()
