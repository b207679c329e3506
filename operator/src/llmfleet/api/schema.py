"""From a pydantic model to the OpenAPI v3 schema of a CustomResourceDefinition.

Strict: a keyword is either translated or refused with the field's path. Nothing that Python checks is dropped in
silence, because an object that the API server accepted and Python refuses would stop the operator.

Read by `crd.py`; what a model can say beyond pydantic is in `markers.py`, what the result must satisfy in
`structural.py`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from llmfleet.api.markers import cel, rules_of
from llmfleet.api.patterns import check_pattern
from llmfleet.api.structural import Schema, SchemaError

VALIDATIONS: Final = "x-kubernetes-validations"
INT_OR_STRING: Final = "x-kubernetes-int-or-string"
OPAQUE: Final = "x-kubernetes-preserve-unknown-fields"
LIST_TYPE: Final = "x-kubernetes-list-type"
_UNKNOWN_DEFAULT: Final = "x-unknown-default"

_ORDER: Final = (
    "description", "type", INT_OR_STRING, "format", "default", "enum", "pattern", "minLength", "maxLength",
    "minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum", "multipleOf", "minItems", "maxItems",
    "minProperties", "maxProperties", LIST_TYPE, "x-kubernetes-list-map-keys", "x-kubernetes-map-type", OPAQUE,
    VALIDATIONS, "required", "properties", "additionalProperties", "items",
)  # fmt: skip
"""Keywords of the result, in the order in which a person reads them."""
_RULE_ORDER: Final = ("rule", "message", "fieldPath", "reason")
_COPIED: Final = ("default", VALIDATIONS, "x-kubernetes-map-type", LIST_TYPE, "x-kubernetes-list-map-keys")
_READ: Final = {*_ORDER, "title", "$ref", "anyOf", "const", "uniqueItems", "propertyNames"}

_TEXT: Final = ("pattern", "minLength", "maxLength")
_NUMBER: Final = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
_KEYWORDS_OF: Final = {
    "object": (
        "properties",
        "required",
        "additionalProperties",
        "propertyNames",
        "minProperties",
        "maxProperties",
        OPAQUE,
    ),
    "array": ("items", "minItems", "maxItems", "uniqueItems"),
    "string": ("format", *_TEXT),
    "integer": ("format", *_NUMBER),
    "number": ("format", *_NUMBER),
    "boolean": (),
}
"""What may be said of a type, beside what every field may have."""
_FORMATS_OF: Final = {"string": {"date-time"}, "integer": {"int32", "int64"}, "number": {"float", "double"}}
_INT32: Final = range(-(2**31), 2**31)

_REMEDIES: Final = {
    "oneOf": "unions of structs have no structural schema: give each variant an optional field of its own and add the "
    "rule that exactly one is set",
    "discriminator": "unions of structs have no structural schema: give each variant an optional field of its own and "
    "add the rule that exactly one is set",
    "allOf": "combine the constraints in one Field",
    "prefixItems": "a tuple of fixed length has no structural schema: use a struct, or tuple[X, ...]",
    "patternProperties": "a pattern of keys is not checked by the API server: put a rule on the map",
    "examples": "examples are not part of a CustomResourceDefinition: put them into the description",
    "deprecated": "deprecated is not part of a CustomResourceDefinition: say so in the description",
    _UNKNOWN_DEFAULT: "a default computed from other fields cannot be written down: use a rule, or None and a property",
}


class _Generator(GenerateJsonSchema):
    """Adds what `@rules` says of a struct, and writes defaults the way the API server applies them."""

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        json_schema = super().model_schema(schema)
        rules = rules_of(cast("type[BaseModel]", schema["cls"]))
        if rules:
            json_schema[VALIDATIONS] = [rule.as_schema() for rule in rules]
        return json_schema

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        json_schema = super().default_schema(schema)
        if schema.get("default_factory_takes_data"):
            json_schema[_UNKNOWN_DEFAULT] = True
        return json_schema

    def get_default_value(self, schema: core_schema.WithDefaultSchema) -> Any:
        if "default_factory" in schema and not schema.get("default_factory_takes_data"):
            return cast("Any", schema["default_factory"])()
        return super().get_default_value(schema)

    def encode_default(self, dft: Any) -> Any:
        """Leave out what the schemas of the nested fields default already: an untouched struct becomes ``{}``."""
        if isinstance(dft, BaseModel):
            return dft.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        if isinstance(dft, list | tuple):
            return [self.encode_default(item) for item in dft]
        if isinstance(dft, Mapping):
            return {key: self.encode_default(value) for key, value in dft.items()}
        return super().encode_default(dft)


def schema_of(model: type[BaseModel], path: str, *, defaults: bool = True) -> Schema:
    """Return the structural schema of a struct.

    Args:
        model: the struct; its docstring is the description.
        path: where the struct stands in the object, such as `spec`; errors begin with it.
        defaults: false leaves defaults out. So it is for status: what the operator did not write is not there.

    Raises:
        SchemaError: Something in the model has no counterpart in a CustomResourceDefinition.
    """
    raw = model.model_json_schema(by_alias=True, mode="validation", schema_generator=_Generator)
    converter = _Converter(raw.pop("$defs", {}), defaults=defaults)
    schema = converter.node(raw, path, ())
    if "description" not in schema:
        raise SchemaError(path, f"{model.__name__} needs a docstring")
    return schema


class _Converter:
    def __init__(self, definitions: Mapping[str, Schema], *, defaults: bool) -> None:
        self._definitions = definitions
        self._defaults = defaults

    def node(self, raw: Schema, path: str, above: tuple[str, ...]) -> Schema:
        """Convert one node; `above` names the definitions that are being inlined around it."""
        node, above = self._inline(raw, path, above)
        for keyword in sorted(node.keys() - _READ):
            raise SchemaError(path, _REMEDIES.get(keyword, f"{keyword} cannot be expressed in a structural schema"))
        result = self._typed(node, path, above)
        result |= {keyword: node[keyword] for keyword in _COPIED if keyword in node and keyword not in result}
        if not self._defaults or _says_nothing(result):
            result.pop("default", None)
        if "description" in node:
            result["description"] = _flowed(node["description"])
        if VALIDATIONS in result:
            result[VALIDATIONS] = [
                {key: rule[key] for key in _RULE_ORDER if key in rule} for rule in result[VALIDATIONS]
            ]
        if "pattern" in result:
            try:
                check_pattern(result["pattern"])
            except ValueError as error:
                raise SchemaError(path, str(error)) from error
        return {keyword: result[keyword] for keyword in _ORDER if keyword in result}

    def _inline(self, raw: Schema, path: str, above: tuple[str, ...]) -> tuple[Schema, tuple[str, ...]]:
        """Replace references by what they refer to, and `X | None` by X."""
        node = raw
        while True:
            if "$ref" in node:
                name = node["$ref"].removeprefix("#/$defs/")
                if name in above:
                    raise SchemaError(path, f"{name} contains itself: a structural schema cannot recurse")
                above = (*above, name)
                node = _merged(self._definitions[name], node, "$ref")
            elif {"type": "null"} in node.get("anyOf", ()):
                if "default" not in node and not path.endswith(("[]", "{}")):
                    raise SchemaError(path, "null cannot be required: give the optional field the default None")
                branches = [branch for branch in node["anyOf"] if branch != {"type": "null"}]
                only = branches[0] if len(branches) == 1 else {"anyOf": branches}
                node = _merged(only, node, "anyOf")
            else:
                return node, above

    def _typed(self, node: Schema, path: str, above: tuple[str, ...]) -> Schema:
        if "anyOf" in node or INT_OR_STRING in node:
            return _int_or_string(node, path)
        if "const" in node or "enum" in node:
            return _enumeration(node, path)
        kind = node.get("type")
        if not isinstance(kind, str) or kind not in _KEYWORDS_OF:
            raise SchemaError(path, "a field of any type has no structural schema: say which, or dict[str, Any]")
        _check_keywords_of(kind, node, path)
        if kind == "object":
            return self._object(node, path, above)
        if kind == "array":
            return self._array(node, path, above)
        if kind == "string":
            return _string(node, path)
        return _number(node, path) if kind != "boolean" else {"type": kind}

    def _object(self, node: Schema, path: str, above: tuple[str, ...]) -> Schema:
        values = node.get("additionalProperties", False)
        result: Schema = {"type": "object"}
        if node.get(OPAQUE):
            if values is not True:
                raise SchemaError(path, "preserve_unknown() is for dict[str, Any] and for structs with extra='allow'")
            result[OPAQUE] = True
        elif values is True:
            raise SchemaError(path, "any content needs preserve_unknown(), which leaves it unchecked and unbounded")
        elif isinstance(values, Mapping):
            if "properties" in node:
                raise SchemaError(path, "a struct cannot have further fields of a type")
            if "maxProperties" not in node:
                raise SchemaError(path, "a map must be bounded: give max_length")
            result["additionalProperties"] = self.node(cast("Schema", values), f"{path}{{}}", above)
        if "propertyNames" in node:
            result[VALIDATIONS] = [_key_rule(node["propertyNames"], path), *node.get(VALIDATIONS, [])]
        result |= {
            keyword: node[keyword] for keyword in ("minProperties", "maxProperties", "required") if node.get(keyword)
        }
        if node.get("properties"):
            result["properties"] = {
                name: self._property(child, f"{path}.{name}", above) for name, child in node["properties"].items()
            }
        return result

    def _property(self, raw: Schema, path: str, above: tuple[str, ...]) -> Schema:
        schema = self.node(raw, path, above)
        if "description" not in schema:
            raise SchemaError(path, "has no description: give Field(description=...) or the struct a docstring")
        return schema

    def _array(self, node: Schema, path: str, above: tuple[str, ...]) -> Schema:
        if "maxItems" not in node:
            raise SchemaError(path, "a list must be bounded: give max_length")
        if "items" not in node:
            raise SchemaError(path, "the items of a list need a type")
        result = {"type": "array", "items": self.node(node["items"], f"{path}[]", above)}
        result |= {keyword: node[keyword] for keyword in ("minItems", "maxItems") if keyword in node}
        if node.get("uniqueItems"):
            result[LIST_TYPE] = "set"
        return result


def _check_keywords_of(kind: str, node: Schema, path: str) -> None:
    """Refuse keywords that belong to other types."""
    foreign = node.keys() - {*_KEYWORDS_OF[kind], *_COPIED, "type", "title", "description"}
    for keyword in sorted(foreign):
        raise SchemaError(path, f"{keyword} says nothing about type {kind}")
    if "format" in node and node["format"] not in _FORMATS_OF.get(kind, ()):
        raise SchemaError(
            path, f"format {node['format']!r} means something else to the API server, or nothing: use a pattern"
        )


def _merged(inner: Schema, outer: Schema, replaced: str) -> Schema:
    """Lay what a field says over what its type says; rules of both apply."""
    node = {**inner, **{keyword: value for keyword, value in outer.items() if keyword != replaced}}
    both = [*inner.get(VALIDATIONS, []), *outer.get(VALIDATIONS, [])]
    return {**node, VALIDATIONS: both} if both else node


def _key_rule(keys: Schema, path: str) -> dict[str, str]:
    """Return the rule for the keys of a map, of which structural schemas say nothing."""
    for keyword in sorted(keys.keys() - {"type", "maxLength"}):
        raise SchemaError(path, f"{keyword} of keys is not checked by the API server: put a rule on the map")
    length = keys["maxLength"]
    # The model has the bound itself: no predicate is needed.
    return cel(f"self.all(key, size(key) <= {length})", f"a key has at most {length} characters").as_schema()


def _int_or_string(node: Schema, path: str) -> Schema:
    """Convert `int | str`; bounds of the two branches stand side by side, each binds its own type."""
    branches: Sequence[Schema] = node.get("anyOf", ())
    if branches and sorted(str(branch.get("type")) for branch in branches) != ["integer", "string"]:
        raise SchemaError(path, "a union has no structural schema, except int | str and X | None")
    allowed = {*_TEXT, *_NUMBER}
    known = {*allowed, *_COPIED, INT_OR_STRING, "anyOf", "title", "description"}
    bounds: Schema = {}
    for part, extra in ((node, known), *((branch, {*allowed, "type", "title"}) for branch in branches)):
        for keyword in sorted(part.keys() - extra):
            raise SchemaError(path, f"{keyword} cannot be said of int-or-string")
        bounds |= {keyword: part[keyword] for keyword in part.keys() & allowed}
    if "maxLength" not in bounds:
        raise SchemaError(path, "the string form must be bounded: give max_length")
    return {INT_OR_STRING: True, **bounds, **_exclusive_bounds(bounds, path)}


def _enumeration(node: Schema, path: str) -> Schema:
    values = node["enum"] if "enum" in node else [node["const"]]
    kind = node.get("type")
    if None in values or kind not in {"string", "integer", "number"}:
        raise SchemaError(path, "the values of an enum must be of one type; for null write Literal[...] | None")
    return {"type": kind, "enum": list(values)}


def _string(node: Schema, path: str) -> Schema:
    if "maxLength" not in node and "format" not in node:
        raise SchemaError(path, "a string must be bounded: give max_length")
    return {keyword: node[keyword] for keyword in ("type", "format", *_TEXT) if keyword in node}


def _number(node: Schema, path: str) -> Schema:
    result: Schema = {keyword: node[keyword] for keyword in ("type", "format", *_NUMBER) if keyword in node}
    result |= _exclusive_bounds(node, path)
    if node["type"] == "integer" and "format" not in node:
        ends = (result.get("minimum"), result.get("maximum"))
        result["format"] = "int32" if all(end is not None and int(end) in _INT32 for end in ends) else "int64"
    return result


def _exclusive_bounds(node: Schema, path: str) -> Schema:
    """Write `exclusiveMinimum: 0` as OpenAPI 3.0 does: `minimum: 0, exclusiveMinimum: true`."""
    result: Schema = {}
    for exclusive, inclusive in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if exclusive in node:
            if inclusive in node:
                raise SchemaError(path, f"has {inclusive} and {exclusive}: give one")
            result |= {inclusive: node[exclusive], exclusive: True}
    return result


def _says_nothing(schema: Schema) -> bool:
    """Tell a default that changes nothing: null, an empty list or map, and ``{}`` for a struct without defaults.

    So an object stays as short as its author wrote it; absent and empty mean the same to the models. For a struct whose
    fields have defaults ``{}`` is needed: the API server does not look for defaults below what is absent.
    """
    default = schema.get("default")
    fields = schema.get("properties", {}).values()
    return default is None or (default in ([], {}) and not any("default" in field for field in fields))


def _flowed(text: str) -> str:
    """Join the lines of each paragraph of a docstring; paragraphs and list items keep their lines."""
    lines: list[str] = []
    for line in text.strip().splitlines():
        stripped = line.strip()
        if lines and lines[-1] and stripped and not stripped.startswith(("- ", "* ")):
            lines[-1] += f" {stripped}"
        else:
            lines.append(stripped)
    return "\n".join(lines)
