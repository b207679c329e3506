"""The reference page of a kind: every field with its type, default and meaning, and every rule, as Markdown.

Written from the CustomResourceDefinition, so that the page says what the API server enforces.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from llmfleet.api.crd import Definition, crd
from llmfleet.api.markers import CustomResource
from llmfleet.api.schema import OPAQUE, VALIDATIONS
from llmfleet.api.structural import Schema, walk

_HEADER: Final = '<!-- Generated from the models in llmfleet.api by "make generate": change those, not this file. -->\n'


@dataclass(frozen=True, slots=True)
class _Field:
    path: str
    schema: Schema
    required: bool


def reference(resource: CustomResource) -> str:
    """Return the reference page of a kind as Markdown."""
    definition = crd(resource)
    root: Schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    parts = [_HEADER, f"# {resource.kind}\n", f"{root['description']}\n", _names(definition)]
    parts.extend(_rules(resource.kind, [(resource.kind, root)]))
    for part in ("spec", "status"):
        if part in root["properties"]:
            parts.extend(_section(part, root["properties"][part]))
    return "\n".join(parts)


def _names(definition: Definition) -> str:
    spec = definition["spec"]
    names = spec["names"]
    called = ", ".join(f"`kubectl get {name}`" for name in (names["plural"], *names.get("shortNames", ())))
    return f"`apiVersion: {spec['group']}/{spec['versions'][0]['name']}`, `kind: {names['kind']}`. {called}\n"


def _section(path: str, schema: Schema) -> Iterator[str]:
    """Write the fields of a struct; in spec each struct gets a section, status is short enough for one."""
    yield f"## {path}\n"
    yield f"{schema['description']}\n"
    fields = _fields(schema, path)
    sections = [field for field in fields if path == "spec" and "properties" in field.schema]
    rest = [field for field in fields if field not in sections]
    yield from _table([shown for field in fields for shown in ([field] if field in sections else _deep([field]))])
    yield from _rules(path, [(path, schema), *(found for field in rest for found in walk(field.schema, field.path))])
    for field in sections:
        yield f"## {field.path}\n"
        yield f"{field.schema['description']}\n"
        yield from _table(list(_deep(_fields(field.schema, field.path))))
        yield from _rules(field.path, walk(field.schema, field.path))


def _fields(schema: Schema, path: str) -> list[_Field]:
    required = schema.get("required", [])
    return [_Field(f"{path}.{name}", child, name in required) for name, child in schema["properties"].items()]


def _deep(fields: Iterable[_Field]) -> Iterator[_Field]:
    """Yield the fields and those of structs inside them, also in lists (`[]`) and maps (`{}`)."""
    for field in fields:
        yield field
        inner, path = field.schema, field.path
        while "items" in inner or "additionalProperties" in inner:
            path += "[]" if "items" in inner else "{}"
            inner = inner["items"] if "items" in inner else inner["additionalProperties"]
        if "properties" in inner:
            yield from _deep(_fields(inner, path))


def _table(fields: Sequence[_Field]) -> Iterator[str]:
    if not fields:
        return
    yield "| Field | Type | Default | Description |"
    yield "|---|---|---|---|"
    for field in fields:
        cells = (f"`{field.path}`", _type(field.schema), _default(field), _description(field.schema))
        yield "| " + " | ".join(_cell(cell) for cell in cells) + " |"
    yield ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", "<br>")


def _type(schema: Schema) -> str:
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    kind: str = schema.get("type", "integer or string")
    if kind == "array":
        return f"list of {_each(schema['items'])}{_bounds(schema, 'minItems', 'maxItems')}"
    if kind == "object":
        return _object(schema)
    if kind == "string":
        is_time = schema.get("format") == "date-time"
        return "time (RFC 3339)" if is_time else f"string{_bounds(schema, 'minLength', 'maxLength', ' characters')}"
    return f"{kind}{_bounds(schema, 'minimum', 'maximum')}"


def _object(schema: Schema) -> str:
    if "additionalProperties" in schema:
        return f"map of {_each(schema['additionalProperties'])}{_bounds(schema, 'minProperties', 'maxProperties')}"
    return "object, not checked here" if schema.get(OPAQUE) else "object"


def _each(schema: Schema) -> str:
    """Name the items of a list or map: "strings (at most 63 characters)"."""
    one, _, detail = _type(schema).partition(", ")
    if "enum" in schema:
        return f"({_type(schema)})"
    return f"{one}s ({detail})" if detail else f"{one}s"


def _bounds(schema: Schema, low: str, high: str, unit: str = "") -> str:
    open_low, open_high = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    if low in schema and high in schema and not (open_low or open_high):
        return f", {schema[low]} to {schema[high]}{unit}"
    ends = [f"{'above' if open_low else 'at least'} {schema[low]}{unit}"] if low in schema else []
    ends += [f"{'below' if open_high else 'at most'} {schema[high]}{unit}"] if high in schema else []
    return "".join(f", {end}" for end in ends)


def _default(field: _Field) -> str:
    if field.required:
        return "required"
    default: Any = field.schema.get("default", {})
    return f"`{json.dumps(default)}`" if default != {} else ""  # {} is a struct: its fields have the defaults


def _description(schema: Schema) -> str:
    text: str = schema["description"]
    return f"{text} Pattern: `{schema['pattern']}`" if "pattern" in schema else text


def _rules(path: str, nodes: Iterable[tuple[str, Schema]]) -> Iterator[str]:
    lines: list[str] = []
    for where, node in nodes:
        lines += [
            f"- `{where}{rule.get('fieldPath', '')}`: {rule['message']}.\n  `{rule['rule']}`"
            for rule in node.get(VALIDATIONS, ())
        ]
    if lines:
        yield f"Rules for `{path}`, checked by the API server:\n"
        yield from lines
        yield ""
