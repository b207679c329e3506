"""The checker of structural schemas: one violation of each rule of the API server."""

from typing import Any

import pytest

from llmfleet.api.structural import SchemaError, check_structural, walk
from tests.unit.api.structural_cases import BAD, GOOD, STRUCT, TEXT, root


@pytest.mark.parametrize("field", GOOD.values(), ids=GOOD.keys())
def test_is_structural(field: dict[str, Any]) -> None:
    check_structural(root(field))


@pytest.mark.parametrize(("field", "below", "why"), BAD.values(), ids=BAD.keys())
def test_is_not_structural(field: dict[str, Any], below: str, why: str) -> None:
    with pytest.raises(SchemaError) as refusal:
        check_structural(root(field))
    assert refusal.value.path == f"spec.field{below}"
    assert why in refusal.value.why


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "array", "items": TEXT},
        {"type": "object", "additionalProperties": TEXT},
        {"type": "object", "properties": {"metadata": {"type": "object", "properties": {"labels": STRUCT}}}},
        {"type": "object", "properties": {"metadata": {"type": "object", "default": {}}}},
        {"type": "object", "properties": {"metadata": TEXT}},
    ],
)
def test_the_root_is_an_object_with_implicit_metadata(schema: dict[str, Any]) -> None:
    with pytest.raises(SchemaError):
        check_structural(schema)


def test_walk_names_every_node_parents_first() -> None:
    nested = {"type": "array", "items": {"type": "object", "additionalProperties": {"type": "array", "items": TEXT}}}
    paths = [path for path, _ in walk(root(nested))]
    assert paths == ["", "spec", "spec.field", "spec.field[]", "spec.field[]{}", "spec.field[]{}[]"]
