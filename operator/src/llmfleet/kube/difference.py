"""Names the fields in which an object differs from what was applied, and who set them: words for people.

Whether an object differs at all is told by digests (`ownership`), which keep nothing to name. This looks at the whole
object, so it is for the rare moments in which a person has to be told. It reads every list of objects as one with keys.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_IDENTITY = ("apiVersion", "kind")
_METADATA_IDENTITY = ("name", "namespace", "uid", "resourceVersion")
_KEYS = ("mountPath", "name", "containerPort", "port", "uid", "topologyKey", "key")

Owners = list[tuple[str, Any]]
"""Field managers with what each owns below the place that is looked at (fieldsV1)."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One field.

    Attributes:
        path: such as `spec.template.spec.containers[engine].image`.
        manager: field manager that set it; empty if that is us: then it was changed on the way in, by admission.
    """

    path: str
    manager: str


def differences(applied: Mapping[str, Any], live: Mapping[str, Any], manager: str) -> tuple[Difference, ...]:
    """Compare what was applied by a manager with the live object; only fields that were applied are looked at."""
    entries = (live.get("metadata") or {}).get("managedFields") or ()
    others = [(one.get("manager", ""), one.get("fieldsV1") or {}) for one in entries if one.get("manager") != manager]
    fields = {key: value for key, value in applied.items() if key not in _IDENTITY}
    metadata = fields.get("metadata") or {}
    fields["metadata"] = {key: value for key, value in metadata.items() if key not in _METADATA_IDENTITY}
    return tuple(_compare(fields, live, others, ""))


def _compare(applied: Any, live: Any, owners: Owners, path: str) -> Iterator[Difference]:
    if isinstance(applied, dict) and isinstance(live, dict):
        for key, value in applied.items():
            yield from _compare(value, live.get(key), _below(owners, f"f:{key}"), f"{path}.{key}" if path else key)
    elif applied and isinstance(applied, list) and isinstance(live, list) and isinstance(applied[0], dict):
        for index, item in enumerate(applied):
            key = next((name for name in _KEYS if name in item), "")
            same = next((other for other in live if key and other.get(key) == item[key]), None)
            if not key and index < len(live):
                same = live[index]
            yield from _compare(item, same, _item(owners, item), f"{path}[{item[key] if key else index}]")
    elif (applied or None) != (live or None):
        yield Difference(path, next((name for name, _ in owners), ""))


def _below(owners: Owners, name: str) -> Owners:
    return [(manager, fields[name]) for manager, fields in owners if name in fields]


def _item(owners: Owners, item: Mapping[str, Any]) -> Owners:
    """Find who owns something in the list item that has the same keys."""
    return [
        (manager, inner)
        for manager, fields in owners
        for name, inner in fields.items()
        if name.startswith("k:") and json.loads(name[2:]).items() <= item.items()
    ]
