"""What a CustomResourceDefinition refuses that an earlier one accepted.

Objects stay stored under a definition that is replaced, and manifests stay in Git. So a definition may only ever let in
more: a field that is gone, a tighter bound or a new rule would refuse, or silently lose, what worked yesterday.
"""

from collections.abc import Callable, Iterator
from typing import Any

from llmfleet.api.schema import OPAQUE, VALIDATIONS

Schema = dict[str, Any]
_ROOT = "the object"
_EQUAL = ("type", "format", "x-kubernetes-int-or-string", "x-kubernetes-list-type", "x-kubernetes-list-map-keys")
_LOWEST = ("minimum", "minLength", "minItems", "minProperties")
_HIGHEST = ("maximum", "maxLength", "maxItems", "maxProperties")


def narrowings(before: Schema, after: Schema) -> list[str]:
    """Return what the second definition lets in less than the first; each text says where, what and what to do."""
    return [f"{text}. {_REMEDY}" for text in _narrowings(before["spec"], after["spec"])]


_REMEDY = (
    "Objects of the earlier definition would be refused, changed or lost. Keep what was, and give the new meaning a "
    "new optional field. If the change really lets in all that was let in before (a rule in other words, a wider "
    "pattern), say so by making the same change to the stored definition, in the same commit."
)


def _narrowings(before: Schema, after: Schema) -> Iterator[str]:
    for name in ("group", "scope"):
        if before[name] != after[name]:
            yield f"{name} was {before[name]} and is {after[name]}"
    for name, was in before["names"].items():
        now = after["names"].get(name)
        if not (set(was) <= set(now or ()) if isinstance(was, list) else was == now):
            yield f"names.{name} was {was} and is {now}"
    later = {version["name"]: version for version in after["versions"]}
    for version in before["versions"]:
        name = version["name"]
        if not later.get(name, {}).get("served"):
            yield f"version {name} is not served any more"
            continue
        if version.get("subresources") != later[name].get("subresources"):
            yield f"subresources were {version.get('subresources')} and are {later[name].get('subresources')}"
        yield from _narrower(version["schema"]["openAPIV3Schema"], later[name]["schema"]["openAPIV3Schema"], _ROOT)


def _narrower(before: Schema, after: Schema, path: str) -> Iterator[str]:
    for keyword in _EQUAL:
        if before.get(keyword) != after.get(keyword) and not _wider_format(keyword, before, after):
            yield f"{path}: {keyword} was {before.get(keyword)} and is {after.get(keyword)}"
    yield from _bounds(before, after, path)
    if before.get(OPAQUE) and not after.get(OPAQUE):
        yield f"{path}: was opaque and is checked and pruned now"
    yield from _values(before, after, path)
    yield from _fields(before, after, "" if path == _ROOT else f"{path}.")
    for keyword, mark in (("items", "[]"), ("additionalProperties", "{}")):
        if keyword in before and keyword in after:
            yield from _narrower(before[keyword], after[keyword], path + mark)
        elif keyword in before and not after.get(OPAQUE):
            yield f"{path}: {keyword} is gone"


def _fields(before: Schema, after: Schema, parent: str) -> Iterator[str]:
    for name, child in before.get("properties", {}).items():
        if name in after.get("properties", {}):
            yield from _narrower(child, after["properties"][name], f"{parent}{name}")
        elif not after.get(OPAQUE):
            yield f"{parent}{name}: the field is gone"
    for name in sorted(set(after.get("required", ())) - set(before.get("required", ()))):
        if "default" not in after["properties"][name]:
            yield f"{parent}{name}: is required now"


def _wider_format(keyword: str, before: Schema, after: Schema) -> bool:
    return keyword == "format" and (before.get("format"), after.get("format")) == ("int32", "int64")


def _bounds(before: Schema, after: Schema, path: str) -> Iterator[str]:
    ends: list[tuple[tuple[str, ...], Callable[[Any, Any], bool]]] = [
        (_LOWEST, lambda was, now: now > was),
        (_HIGHEST, lambda was, now: now < was),
    ]
    for keywords, tighter in ends:
        for keyword in keywords:
            was, now = before.get(keyword), after.get(keyword)
            if now is not None and (was is None or tighter(was, now)):
                yield f"{path}: {keyword} was {was} and is {now}"
    for bound in ("minimum", "maximum"):
        exclusive = f"exclusive{bound.capitalize()}"
        if after.get(exclusive) and not before.get(exclusive) and before.get(bound) == after.get(bound):
            yield f"{path}: {bound} {after[bound]} itself is excluded now"


def _values(before: Schema, after: Schema, path: str) -> Iterator[str]:
    if "enum" in after:
        gone = [value for value in before.get("enum", ["(anything)"]) if value not in after["enum"]]
        if gone:
            yield f"{path}: {', '.join(map(str, gone))} is no value any more"
    if after.get("pattern") not in (None, before.get("pattern")):
        yield f"{path}: pattern was {before.get('pattern')} and is {after['pattern']}"
    if before.get("default") != after.get("default"):
        yield f"{path}: default was {before.get('default')} and is {after.get('default')}"
    known = {rule["rule"] for rule in before.get(VALIDATIONS, ())}
    for rule in after.get(VALIDATIONS, ()):
        if rule["rule"] not in known:
            yield f"{path}: new rule {rule['rule']}"
