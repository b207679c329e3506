"""The CustomResourceDefinition of a kind, and its YAML.

Takes a `CustomResource` (`markers.py`), whose models `schema.py` converts, and returns what is committed below crds/.
Writes no files: that is `llmfleet.cli.generate`.
"""

import re
from collections.abc import Iterator
from typing import Any, Final

import yaml

from llmfleet.api.markers import CustomResource, Scale
from llmfleet.api.schema import VALIDATIONS, schema_of
from llmfleet.api.structural import Schema, SchemaError, check_structural

HEADER: Final = '# Generated from the models in llmfleet.api by "make generate": change those, not this file.\n'
_API_VERSION_TEXT: Final = "Version of the schema of this object: group/version."
_KIND_TEXT: Final = "Kind of this object, in CamelCase."
_GENERATED_BY_SERVER: Final = ("metadata", "apiVersion", "kind")
_FIELD: Final = re.compile(r"\.([A-Za-z0-9_-]+)|(\[[^\]]*\])")
_WIDTH: Final = 110
_MIN_FOLDED: Final = 80
_AMBIGUOUS: Final = re.compile(r"[-+]?\.?[0-9][0-9A-Za-z_.:+-]*|[yYnN]")
"""Strings that YAML 1.1 and 1.2 parsers may take for numbers or booleans where PyYAML does not."""

Definition = dict[str, Any]


def crd(resource: CustomResource) -> Definition:
    """Return the CustomResourceDefinition (apiextensions.k8s.io/v1) of a kind.

    Raises:
        SchemaError: A model cannot be expressed, or a column or scale path leads nowhere.
    """
    schema = _root(resource)
    check_structural(schema)
    for column in resource.printer_columns:
        _type_at(schema, column.json_path, f"column {column.name}")
    version: Definition = {
        "name": resource.version,
        "served": True,
        "storage": True,
        "subresources": _subresources(resource, schema),
        "additionalPrinterColumns": _columns(resource),
        "schema": {"openAPIV3Schema": schema},
    }
    names = {
        "kind": resource.kind,
        "listKind": f"{resource.kind}List",
        "plural": resource.plural,
        "singular": resource.singular,
        "shortNames": list(resource.short_names),
        "categories": list(resource.categories),
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{resource.plural}.{resource.group}",
            # The schema is larger than what kubectl's client-side apply can remember in an annotation.
            "annotations": {"argocd.argoproj.io/sync-options": "ServerSideApply=true"},
        },
        "spec": {
            "group": resource.group,
            "scope": "Namespaced",
            "names": _without_empty(names),
            "versions": [_without_empty(version)],
        },
    }


def dump(definition: Definition) -> str:
    """Return the definition as YAML; equal definitions give equal text."""
    return HEADER + yaml.dump(definition, Dumper=_Dumper, sort_keys=False, width=_WIDTH, allow_unicode=True)


def _root(resource: CustomResource) -> Schema:
    properties: dict[str, Schema] = {
        "apiVersion": {"description": _API_VERSION_TEXT, "type": "string"},
        "kind": {"description": _KIND_TEXT, "type": "string"},
        "metadata": _metadata(resource),
        "spec": schema_of(resource.spec, "spec"),
    }
    if resource.status is not None:
        properties["status"] = schema_of(resource.status, "status", defaults=False)
    root: Schema = {"description": resource.description, "type": "object"}
    if resource.rules:
        root[VALIDATIONS] = [rule.as_schema() for rule in resource.rules]
    return {**root, "required": ["spec"], "properties": properties}


def _metadata(resource: CustomResource) -> Schema:
    """Type what a rule's error points at: a path into metadata is valid only if the schema has the field."""
    if any(rule.field_path == ".metadata.name" for rule in resource.rules):
        return {"type": "object", "properties": {"name": {"type": "string"}}}
    return {"type": "object"}


def _subresources(resource: CustomResource, schema: Schema) -> Definition:
    subresources: Definition = {}
    if resource.status is not None:
        subresources["status"] = {}
    if resource.scale is not None:
        _check_scale(resource.scale, schema)
        subresources["scale"] = {
            "specReplicasPath": resource.scale.spec_replicas,
            "statusReplicasPath": resource.scale.status_replicas,
            "labelSelectorPath": resource.scale.selector,
        }
    return subresources


def _check_scale(scale: Scale, schema: Schema) -> None:
    wanted = ((scale.spec_replicas, "integer"), (scale.status_replicas, "integer"), (scale.selector, "string"))
    for path, kind in wanted:
        if _type_at(schema, path, "scale") != kind:
            raise SchemaError(path.lstrip("."), f"the scale subresource needs a field of type {kind}")


def _columns(resource: CustomResource) -> list[Definition]:
    columns = []
    for column in resource.printer_columns:
        shown: Definition = {"name": column.name, "type": column.type, "description": column.description}
        shown |= {"format": column.format} if column.format is not None else {}
        shown |= {"priority": column.priority} if column.priority else {}
        columns.append({**shown, "jsonPath": column.json_path})
    return columns


def _type_at(schema: Schema, json_path: str, user: str) -> str | None:
    """Return the type of the field that a JSON path leads to; below metadata the API server knows better."""
    if "".join(_steps(json_path)) != json_path:
        raise SchemaError(json_path, f"{user}: not a JSON path such as .spec.replicas")
    node = schema
    for step in _steps(json_path):
        if step[1:] in _GENERATED_BY_SERVER and node is schema:
            return None
        child = node.get("items") if step.startswith("[") else node.get("properties", {}).get(step[1:])
        if child is None:
            raise SchemaError(json_path.lstrip("."), f"{user}: there is no such field")
        node = child
    kind: str | None = node.get("type")
    return kind


def _steps(json_path: str) -> Iterator[str]:
    return (step[0] for step in _FIELD.finditer(json_path))


def _without_empty(mapping: Definition) -> Definition:
    return {key: value for key, value in mapping.items() if value not in ([], {})}


class _Dumper(yaml.SafeDumper):
    """Block style with long text folded at a fixed width, so that a changed word changes few lines."""

    def ignore_aliases(self, data: object) -> bool:
        """Write equal parts out each time: anchors are hard to read and to diff."""
        del data
        return True


def _represent_text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    style = None
    if _AMBIGUOUS.fullmatch(text) or not text.replace("\n", "").isprintable():
        style = '"'
    elif "\n" in text or len(text) > _MIN_FOLDED:
        style = ">"
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)
