"""Schemas of one field that are structural, and one violation of each rule. The api tier asks the API server, too."""

from typing import Any

TEXT = {"type": "string", "maxLength": 9}
STRUCT = {"type": "object", "properties": {"name": TEXT}, "required": ["name"]}


def root(field: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": {"spec": {"type": "object", "properties": {"field": field}}}}


GOOD: dict[str, dict[str, Any]] = {
    "text": TEXT,
    "struct": STRUCT,
    "map": {"type": "object", "additionalProperties": TEXT},
    "list map": {
        "type": "array",
        "items": STRUCT,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["name"],
    },
    "set": {"type": "array", "items": TEXT, "x-kubernetes-list-type": "set"},
    "set of atomic structs": {
        "type": "array",
        "items": {**STRUCT, "x-kubernetes-map-type": "atomic"},
        "x-kubernetes-list-type": "set",
    },
    "int or string": {"x-kubernetes-int-or-string": True},
    "int or string, spelt out": {
        "x-kubernetes-int-or-string": True,
        "anyOf": [{"type": "integer"}, {"type": "string"}],
    },
    "opaque": {"x-kubernetes-preserve-unknown-fields": True},
    "opaque object": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    "exclusive": {"type": "number", "minimum": 0, "exclusiveMinimum": True},
    "null default of a nullable": {"type": "string", "nullable": True, "default": None},
    "values restricted below a junctor": {
        "type": "object",
        "properties": {"name": TEXT},
        "oneOf": [{"required": ["name"]}, {"not": {"properties": {"name": {"pattern": "^a$"}}}}],
    },
}
BAD: dict[str, tuple[dict[str, Any], str, str]] = {
    "no type": ({"maxLength": 9}, "", "has no type"),
    "unknown type": ({"type": "text"}, "", "unknown type"),
    "list of types": ({"type": ["string", "null"]}, "", "unknown type"),
    "type null": ({"type": "null"}, "", "unknown type"),
    "reference": ({"$ref": "#/definitions/X"}, "", "$ref is forbidden"),
    "const": ({**TEXT, "const": "a"}, "", "const is forbidden"),
    "uniqueItems": ({"type": "array", "items": TEXT, "uniqueItems": True}, "", "uniqueItems"),
    "numeric exclusive bound": ({"type": "number", "exclusiveMinimum": 0}, "", "exclusiveMinimum is a boolean"),
    "null default": ({**TEXT, "default": None}, "", "default null"),
    "required but absent": ({**STRUCT, "required": ["other"]}, "", "requires other"),
    "foreign pattern": ({**TEXT, "pattern": "(?=a)"}, "", "look-ahead"),
    "int or string with a type": ({"type": "string", "x-kubernetes-int-or-string": True}, "", "type beside"),
    "int or string, opaque": (
        {"x-kubernetes-int-or-string": True, "x-kubernetes-preserve-unknown-fields": True},
        "",
        "cannot be int-or-string and opaque",
    ),
    "array without items": ({"type": "array"}, "", "without items"),
    "items of a string": ({**TEXT, "items": TEXT}, "", "is no array"),
    "fields of a string": ({**TEXT, "properties": {}}, "", "is no object"),
    "properties and additionalProperties": (
        {**STRUCT, "additionalProperties": TEXT},
        "",
        "exclude each other",
    ),
    "closed struct": ({**STRUCT, "additionalProperties": False}, "", "exclude each other"),
    "map of anything": ({"type": "object", "additionalProperties": True}, "", "must be a schema"),
    "map type of a string": ({**TEXT, "x-kubernetes-map-type": "atomic"}, "", "what is no object"),
    "list type of a string": ({**TEXT, "x-kubernetes-list-type": "set"}, "", "what is no array"),
    "unknown list type": ({"type": "array", "items": TEXT, "x-kubernetes-list-type": "bag"}, "", "unknown"),
    "keys without list map": (
        {"type": "array", "items": STRUCT, "x-kubernetes-list-map-keys": ["name"]},
        "",
        "without",
    ),
    "list map without keys": ({"type": "array", "items": STRUCT, "x-kubernetes-list-type": "map"}, "", "needs keys"),
    "list map of texts": (
        {"type": "array", "items": TEXT, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["a"]},
        "",
        "needs objects",
    ),
    "list map with an unknown key": (
        {"type": "array", "items": STRUCT, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["a"]},
        "",
        "no field 'a'",
    ),
    "list map with an optional key": (
        {
            "type": "array",
            "items": {"type": "object", "properties": {"a": TEXT}},
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["a"],
        },
        "",
        "must be required",
    ),
    "list map with a struct as key": (
        {
            "type": "array",
            "items": {"type": "object", "properties": {"a": STRUCT}, "required": ["a"]},
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["a"],
        },
        "",
        "must be a scalar",
    ),
    "set of structs": ({"type": "array", "items": STRUCT, "x-kubernetes-list-type": "set"}, "", "atomic objects"),
    "set of sets": (
        {
            "type": "array",
            "items": {"type": "array", "items": TEXT, "x-kubernetes-list-type": "set"},
            "x-kubernetes-list-type": "set",
        },
        "",
        "atomic lists",
    ),
    "type below anyOf": ({**TEXT, "anyOf": [{"type": "string"}]}, ".anyOf[0]", "type is forbidden"),
    "default below oneOf": ({**TEXT, "oneOf": [{"default": "a"}]}, ".oneOf[0]", "default is forbidden"),
    "description below not": ({**TEXT, "not": {"description": "a"}}, ".not", "description is forbidden"),
    "deep below allOf": (
        {**STRUCT, "allOf": [{"properties": {"name": {"anyOf": [{"type": "string"}]}}}]},
        ".allOf[0].name.anyOf[0]",
        "type is forbidden",
    ),
    "below items of a junctor": (
        {"type": "array", "items": TEXT, "not": {"items": {"type": "string"}}},
        ".not[]",
        "type is forbidden",
    ),
    "below a not of a junctor": ({**TEXT, "allOf": [{"not": {"type": "string"}}]}, ".allOf[0].not", "type"),
    "in a list": ({"type": "array", "items": {}}, "[]", "has no type"),
    "in a map": ({"type": "object", "additionalProperties": {}}, "{}", "has no type"),
}
