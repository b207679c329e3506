"""The reference page: each field and each rule is on it, in words."""

import dataclasses
from datetime import datetime
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from llmfleet.api.crd import crd
from llmfleet.api.deployment import LLM_DEPLOYMENT
from llmfleet.api.markers import CustomResource, cel, int_or_string, preserve_unknown
from llmfleet.api.schema import VALIDATIONS
from llmfleet.api.structural import walk
from llmfleet.cli.reference import reference


class Nested(BaseModel):
    """A nested struct."""

    deep: Annotated[str, cel("self != ''", "must not be empty")] = Field("x", description="Deep.", max_length=9)


class Things(BaseModel):
    """All kinds of things."""

    text: str = Field(description="A | text.", min_length=1, max_length=9, pattern="^(a|b)+$")
    number: float = Field(0.5, description="A number.", gt=0, le=1)
    open_number: float | None = Field(None, description="A number.", lt=1)
    count: int = Field(3, description="A count.", ge=1, le=9)
    flag: bool = Field(default=True, description="A flag.")
    choice: Literal["a", "b"] = Field("a", description="A choice.")
    choices: tuple[Literal["a", "b"], ...] = Field((), description="Choices.", max_length=2)
    quantity: Annotated[int | str, int_or_string(max_length=9)] | None = Field(None, description="A quantity.")
    at: datetime | None = Field(None, description="A time.")
    opaque: Annotated[dict[str, Any], preserve_unknown()] | None = Field(None, description="Opaque.")
    texts: tuple[Annotated[str, Field(max_length=9)], ...] = Field((), description="Texts.", min_length=0, max_length=2)
    labels: dict[str, Annotated[str, Field(max_length=9)]] | None = Field(None, description="Labels.", max_length=2)
    items: tuple[Nested, ...] = Field((), description="Items.", max_length=2)
    nested: Nested = Field(Nested(), description="Nested.")


THINGS = CustomResource(
    group="a.b",
    version="v1",
    kind="Thing",
    plural="things",
    singular="thing",
    description="A thing.",
    spec=Things,
    rules=(cel("size(self.metadata.name) <= 50", "the name is too long"),),
    short_names=("th",),
)
PAGE = reference(THINGS)


@pytest.mark.parametrize(
    "row",
    [
        r"| `spec.text` | string, 1 to 9 characters | required | A \| text. Pattern: `^(a\|b)+$` |",
        "| `spec.number` | number, above 0, at most 1 | `0.5` | A number. |",
        "| `spec.open_number` | number, below 1 |  | A number. |",
        "| `spec.count` | integer, 1 to 9 | `3` | A count. |",
        "| `spec.flag` | boolean | `true` | A flag. |",
        '| `spec.choice` | `a`, `b` | `"a"` | A choice. |',
        "| `spec.choices` | list of (`a`, `b`), at most 2 |  | Choices. |",
        "| `spec.quantity` | integer or string |  | A quantity. |",
        "| `spec.at` | time (RFC 3339) |  | A time. |",
        "| `spec.opaque` | object, not checked here |  | Opaque. |",
        "| `spec.texts` | list of strings (at most 9 characters), 0 to 2 |  | Texts. |",
        "| `spec.labels` | map of strings (at most 9 characters), at most 2 |  | Labels. |",
        "| `spec.items` | list of objects, at most 2 |  | Items. |",
        '| `spec.items[].deep` | string, at most 9 characters | `"x"` | Deep. |',
        '| `spec.nested.deep` | string, at most 9 characters | `"x"` | Deep. |',
    ],
)
def test_a_field_is_described_in_a_row(row: str) -> None:
    assert PAGE.count(f"{row}\n") == 1


def test_a_struct_gets_a_section_with_its_rules() -> None:
    nested = PAGE.partition("## spec.nested\n")[2]
    assert nested.startswith("\nNested.\n\n| Field |")
    assert "- `spec.nested.deep`: must not be empty.\n  `self != ''`" in nested


def test_the_rules_of_the_object_and_its_names_are_at_the_top() -> None:
    top = PAGE.partition("## spec")[0]
    assert "# Thing\n\nA thing.\n" in top
    assert "`kubectl get th`" in top
    assert "- `Thing`: the name is too long." in top


@pytest.mark.parametrize("resource", [THINGS, LLM_DEPLOYMENT, dataclasses.replace(THINGS, rules=())])
def test_every_field_and_every_rule_is_on_the_page(resource: CustomResource) -> None:
    page = reference(resource)
    root = crd(resource)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    for path, node in walk(root):
        if path.startswith(("spec.", "status.")) and not path.endswith(("[]", "{}")):
            assert page.count(f"| `{path}` |") == 1, path
        for rule in node.get(VALIDATIONS, ()):
            assert f"{rule['message']}.\n  `{rule['rule']}`" in page
