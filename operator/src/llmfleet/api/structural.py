"""What the API server demands of a structural schema, checked without one.

An independent reading of the rules in k8s.io/apiextensions-apiserver (pkg/apiserver/schema/validation.go and
pkg/apis/apiextensions/validation): it knows nothing of how `schema.py` writes schemas, so that each checks the other.
It also refuses a few contradictions that the API server lets pass. CEL is left to the API server.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from llmfleet.api.patterns import check_pattern

Schema = dict[str, Any]

_TYPES: Final = frozenset({"object", "array", "string", "integer", "number", "boolean"})
_FORBIDDEN: Final = frozenset(
    {
        "$ref", "$schema", "$id", "id", "definitions", "$defs", "dependencies", "deprecated", "discriminator",
        "patternProperties", "propertyNames", "readOnly", "writeOnly", "xml", "additionalItems", "prefixItems",
        "const", "examples", "if", "then", "else", "unevaluatedProperties", "contentMediaType", "contentEncoding",
    }
)  # fmt: skip
_JUNCTORS: Final = ("allOf", "anyOf", "oneOf")
_FORBIDDEN_IN_JUNCTOR: Final = frozenset(
    {
        "type", "description", "title", "default", "nullable", "additionalProperties", "x-kubernetes-int-or-string",
        "x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource", "x-kubernetes-list-type",
        "x-kubernetes-list-map-keys", "x-kubernetes-map-type", "x-kubernetes-validations",
    }
)  # fmt: skip
_INT_OR_STRING: Final = [{"type": "integer"}, {"type": "string"}]


class SchemaError(ValueError):
    """A model or schema that a CustomResourceDefinition cannot express; says where and why."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(f"{path or '(root)'}: {why}")
        self.path = path
        self.why = why


def check_structural(schema: Schema) -> None:
    """Refuse an openAPIV3Schema that the API server would not take as structural.

    Raises:
        SchemaError: The first violation, with its path such as `spec.args[]`.
    """
    if schema.get("type") != "object":
        raise SchemaError("", "the root must be of type object")
    if "additionalProperties" in schema:
        raise SchemaError("", "additionalProperties is forbidden at the root")
    metadata = schema.get("properties", {}).get("metadata", {"type": "object"})
    restricted = metadata.get("properties", {}).keys()
    if metadata.keys() - {"type", "description", "properties"} or restricted - {"name", "generateName"}:
        raise SchemaError("metadata", "metadata is implicit: only name and generateName may be restricted")
    if metadata.get("type") != "object":
        raise SchemaError("metadata", "metadata must be of type object")
    for path, node in walk(schema):
        _check_keywords(path, node)
        _check_type(path, node)
        _check_lists_and_maps(path, node)
        for junctor in _JUNCTORS:
            for index, branch in enumerate(node.get(junctor, [])):
                if not (junctor == "anyOf" and _is_int_or_string(node)):
                    _check_branch(f"{path}.{junctor}[{index}]", branch)
        if "not" in node:
            _check_branch(f"{path}.not", node["not"])


def walk(schema: Schema, path: str = "") -> Iterator[tuple[str, Schema]]:
    """Yield every node with its path, parents first: `spec`, `spec.args`, `spec.args[]`, `spec.labels{}`."""
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from walk(child, f"{path}.{name}" if path else name)
    if isinstance(schema.get("additionalProperties"), Mapping):
        yield from walk(schema["additionalProperties"], f"{path}{{}}")
    if isinstance(schema.get("items"), Mapping):
        yield from walk(schema["items"], f"{path}[]")


def _check_keywords(path: str, node: Schema) -> None:
    for keyword in sorted(_FORBIDDEN & node.keys()):
        raise SchemaError(path, f"{keyword} is forbidden")
    if node.get("uniqueItems"):
        raise SchemaError(path, "uniqueItems is forbidden: use x-kubernetes-list-type set")
    for bound in ("exclusiveMinimum", "exclusiveMaximum"):
        if not isinstance(node.get(bound, False), bool):
            raise SchemaError(path, f"{bound} is a boolean in OpenAPI 3.0")
    if "default" in node and node["default"] is None and not node.get("nullable"):
        raise SchemaError(path, "default null on a field that is not nullable")
    missing = set(node.get("required", [])) - node.get("properties", {}).keys()
    if missing and not node.get("x-kubernetes-preserve-unknown-fields"):
        raise SchemaError(path, f"requires {', '.join(sorted(missing))}, which it does not have")
    if "pattern" in node:
        try:
            check_pattern(node["pattern"])
        except ValueError as error:
            raise SchemaError(path, str(error)) from error


def _check_type(path: str, node: Schema) -> None:
    kind = node.get("type")
    if kind is None:
        if not (node.get("x-kubernetes-int-or-string") or node.get("x-kubernetes-preserve-unknown-fields")):
            raise SchemaError(path, "has no type")
    elif node.get("x-kubernetes-int-or-string"):
        raise SchemaError(path, "has a type beside x-kubernetes-int-or-string")
    elif not isinstance(kind, str) or kind not in _TYPES:
        raise SchemaError(path, f"has the unknown type {kind!r}")
    if node.get("x-kubernetes-int-or-string") and node.get("x-kubernetes-preserve-unknown-fields"):
        raise SchemaError(path, "cannot be int-or-string and opaque")
    if kind == "array" and not isinstance(node.get("items"), Mapping):
        raise SchemaError(path, "is an array without items")
    for keyword, owner in (("properties", "object"), ("additionalProperties", "object"), ("items", "array")):
        if keyword in node and kind != owner:
            raise SchemaError(path, f"has {keyword} but is no {owner}")


def _check_lists_and_maps(path: str, node: Schema) -> None:
    if "properties" in node and "additionalProperties" in node:
        raise SchemaError(path, "properties and additionalProperties exclude each other")
    if not isinstance(node.get("additionalProperties", {}), Mapping):
        raise SchemaError(path, "additionalProperties must be a schema")
    if "x-kubernetes-map-type" in node and node.get("type") != "object":
        raise SchemaError(path, "x-kubernetes-map-type on what is no object")
    list_type = node.get("x-kubernetes-list-type")
    if list_type is None:
        if "x-kubernetes-list-map-keys" in node:
            raise SchemaError(path, "x-kubernetes-list-map-keys without x-kubernetes-list-type map")
    elif node.get("type") != "array":
        raise SchemaError(path, "x-kubernetes-list-type on what is no array")
    elif list_type == "map":
        _check_list_map(path, node)
    elif list_type == "set":
        _check_list_set(path, node["items"])
    elif list_type != "atomic":
        raise SchemaError(path, f"unknown x-kubernetes-list-type {list_type!r}")


def _check_list_map(path: str, node: Schema) -> None:
    items, keys = node["items"], node.get("x-kubernetes-list-map-keys", [])
    if not keys or len(set(keys)) != len(keys):
        raise SchemaError(path, "a list of type map needs keys, each once")
    if items.get("type") != "object":
        raise SchemaError(path, "a list of type map needs objects as items")
    for key in keys:
        field = items.get("properties", {}).get(key)
        if field is None:
            raise SchemaError(path, f"the items of the list map have no field {key!r}")
        if field.get("type") in {"array", "object"}:
            raise SchemaError(path, f"the list map's key {key!r} must be a scalar")
        if key not in items.get("required", []) and "default" not in field:
            raise SchemaError(path, f"the list map's key {key!r} must be required or have a default")


def _check_list_set(path: str, items: Schema) -> None:
    if items.get("type") == "object" and items.get("x-kubernetes-map-type") != "atomic":
        raise SchemaError(path, "a list of type set holds scalars or atomic objects")
    if items.get("type") == "array" and items.get("x-kubernetes-list-type", "atomic") != "atomic":
        raise SchemaError(path, "a list of type set holds scalars or atomic lists")


def _is_int_or_string(node: Schema) -> bool:
    return bool(node.get("x-kubernetes-int-or-string")) and node.get("anyOf") == _INT_OR_STRING


def _check_branch(path: str, branch: Schema) -> None:
    """Check a schema below allOf, anyOf, oneOf or not: it may only restrict values of what is typed elsewhere."""
    for keyword in sorted((_FORBIDDEN_IN_JUNCTOR | _FORBIDDEN) & branch.keys()):
        raise SchemaError(path, f"{keyword} is forbidden below allOf, anyOf, oneOf and not")
    for name, child in branch.get("properties", {}).items():
        _check_branch(f"{path}.{name}", child)
    if "items" in branch:
        _check_branch(f"{path}[]", branch["items"])
    for junctor in _JUNCTORS:
        for index, nested in enumerate(branch.get(junctor, [])):
            _check_branch(f"{path}.{junctor}[{index}]", nested)
    if "not" in branch:
        _check_branch(f"{path}.not", branch["not"])
