"""Tells whether an object still is what we applied, from the object alone and without its schema.

The API server notes in `metadata.managedFields` which fields each manager owns. `owned_fields` cuts ours out of a live
object, `applied_fields` brings what we mean to apply into the same form, and `digest` of the two is equal exactly when
nobody drifted: a foreign change of one of our fields takes it out of our ownership, so even its absence shows.
A trimmed object keeps the digest (8 bytes as text) instead of the fields.

Both sides are normalised, since the server forgets some differences:
- Null, false, 0 and empty strings, lists and objects are one and the same value: the server drops most of them from
  an object while it goes on listing them as owned.
- A list of objects has no order: lists with keys keep the server's order, and which lists have keys only a schema says.
  So a change that only reorders init containers or environment variables is not seen. Lists of scalars are ordered.
- 1.0 is 1.

What is applied has to be written as the server stores it: quantities in canonical form ("1" and not "1000m"), and
within values that are owned as a whole (selectors, tolerations, `fieldRef`, `secretKeyRef`) the server's defaults
spelled out (`apiVersion: v1` of a fieldRef) and nothing empty. An empty map costs one apply more when somebody else
fills it. The answer to an apply shows whether all that was so: it has to have the digest of what was sent.
"""

from __future__ import annotations

import functools
import hashlib
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Mapping

Fields = dict[str, Any]
"""As fieldsV1: keys are `f:name`, `k:{key fields}`, `v:value`, `i:index` or `.`, values the same again."""

_DIGEST_BYTES = 8
_REMEMBERED = 4096
_NOT_FIELDS = ("apiVersion", "kind")
_NOT_METADATA = ("name", "namespace", "uid", "resourceVersion")


def owned_fields(obj: Mapping[str, Any], manager: str = "llmfleet") -> dict[str, Any]:
    """Cut out of a live object the fields that a manager applied and still owns, normalised.

    Args:
        obj: the object as the API server shows it, managedFields included.
        manager: field manager; its fields of subresources are left out.
    """
    ours: Fields = {}
    others: list[Fields] = []
    for entry in (obj.get("metadata") or {}).get("managedFields") or ():
        fields = entry.get("fieldsV1") or {}
        if entry.get("manager") == manager and entry.get("operation") == "Apply" and not entry.get("subresource"):
            ours = fields
        else:
            others.append(fields)
    cut = _cut(obj, ours, others) if ours else {}
    normal: dict[str, Any] = _normalise(cut) or {}
    return normal


def applied_fields(obj: Mapping[str, Any]) -> dict[str, Any]:
    """Bring an object that is to be applied into the form of `owned_fields`; its identity is left out."""
    fields = {key: value for key, value in obj.items() if key not in _NOT_FIELDS}
    metadata = {key: value for key, value in (obj.get("metadata") or {}).items() if key not in _NOT_METADATA}
    if metadata:
        fields["metadata"] = metadata
    else:
        fields.pop("metadata", None)
    normal: dict[str, Any] = _normalise(fields) or {}
    return normal


def digest(fields: Mapping[str, Any]) -> str:
    """Hash normalised fields of 64-bit numbers; equal fields give equal digests in every process and version."""
    return hashlib.blake2b(_canonical(fields), digest_size=_DIGEST_BYTES).hexdigest()


class OwnedDigests:
    """Digests of the fields that one manager owns in live objects.

    Most news about an object are about its status, and every write of ours comes back as news: the last few thousand
    digests are remembered by what they were made from, which is ten times cheaper to hash as it stands.

    Args:
        manager: field manager.
    """

    def __init__(self, manager: str) -> None:
        self._manager = manager
        self._known: OrderedDict[bytes, str] = OrderedDict()

    def of(self, obj: Mapping[str, Any]) -> str:
        """Return the digest of a live object's owned fields."""
        mark = hashlib.blake2b(orjson.dumps(_without_status(obj)), digest_size=16).digest()
        known = self._known.get(mark)
        if known is None:
            known = self._known[mark] = digest(owned_fields(obj, self._manager))
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        else:
            self._known.move_to_end(mark)
        return known


def _without_status(obj: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out of an object what its owned fields do not depend on and what changes all the time."""
    rest = {key: value for key, value in obj.items() if key != "status"}
    metadata = rest["metadata"] = dict(obj["metadata"])
    metadata.pop("resourceVersion", None)
    managed = metadata.get("managedFields") or ()
    metadata["managedFields"] = [
        (entry.get("manager"), entry.get("operation"), entry.get("fieldsV1"))
        for entry in managed
        if entry.get("subresource") != "status"
    ]
    return rest


def _cut(live: Any, fields: Fields, others: list[Fields]) -> Any:
    """Keep of a live value what `fields` names. `others` is what other managers own in the same place."""
    if not fields:
        # Owned as a whole; but if others own something inside, it can be shared and we own an empty one.
        return None if any(other.keys() - {"."} for other in others) else live
    if isinstance(live, list):
        found = ((_item(live, name), name) for name in fields if name != ".")
        cut = {at: _cut(live[at], fields[name], _below(others, name)) for at, name in found if at is not None}
        return [cut[at] for at in sorted(cut)]
    if isinstance(live, dict):
        return {
            name[2:]: _cut(live.get(name[2:]), inner, _below(others, name) if others else others)
            for name, inner in fields.items()
            if name != "."
        }
    return None


def _below(others: list[Fields], name: str) -> list[Fields]:
    return [other[name] for other in others if name in other]


def _item(live: list[Any], name: str) -> int | None:
    """Find the list item that `k:{key fields}`, `v:value` or `i:index` means; None if it is gone."""
    kind, _, text = name.partition(":")
    wanted = _parse(text)
    if kind == "i":
        return wanted if wanted < len(live) else None
    for index, item in enumerate(live):
        if kind == "v" and item == wanted:
            return index
        if kind == "k" and isinstance(item, dict) and all(item.get(key) == value for key, value in wanted.items()):
            return index
    return None


@functools.lru_cache(maxsize=1024)
def _parse(text: str) -> Any:
    """Parse the JSON of a path element; a fleet's objects share a few of them."""
    return orjson.loads(text)


def _canonical(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def _normalise(value: Any) -> Any:
    """Forget the differences that the server forgets; see the module's description."""
    if isinstance(value, dict) and value:
        return {key: _normalise(inner) for key, inner in value.items()}
    if isinstance(value, list) and value:
        normal = [_normalise(inner) for inner in value]
        if len(normal) > 1 and all(isinstance(inner, dict) for inner in value):
            normal.sort(key=_canonical)
        return normal
    if isinstance(value, float) and value.is_integer():
        return int(value) or None
    return value or None
