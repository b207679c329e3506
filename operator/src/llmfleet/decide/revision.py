"""What makes a revision: a hash over everything that must restart an engine, and how many old ones are remembered."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

from llmfleet.api.units import canonical_quantity

_PARTS: Final = ("model", "engine", "resources", "podTemplate")
_QUANTITIES: Final = ("cpu", "memory", "sharedMemory")


def revision_inputs(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a stored spec (JSON) that makes up its revision, without what says nothing.

    The stored spec is taken, not the parsed model: a field that this operator does not know yet, or a default that
    another version of it has, must not change the revision of an object that nobody touched.
    """
    inputs = {part: _without_empty(spec.get(part)) for part in _PARTS}
    resources = inputs["resources"]
    if isinstance(resources, dict):
        inputs["resources"] = {
            key: canonical_quantity(value) if key in _QUANTITIES else value for key, value in resources.items()
        }
    return {part: value for part, value in inputs.items() if value is not None}


def revision_hash(spec: Mapping[str, Any]) -> str:
    """Return the short name of the revision that a stored spec asks for: 8 hexadecimal digits of a SHA-256."""
    canonical = json.dumps(revision_inputs(spec), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:8]


def forgotten(numbers: Mapping[str, int], in_use: frozenset[str], limit: int) -> tuple[str, ...]:
    """Return the revisions to forget, oldest first.

    Args:
        numbers: number of each remembered revision; it grows with time.
        in_use: revisions that run or are asked for: always remembered, never counted.
        limit: how many others are remembered.
    """
    idle = sorted((revision for revision in numbers if revision not in in_use), key=lambda r: (numbers[r], r))
    return tuple(idle[: max(0, len(idle) - limit)])


def _without_empty(value: Any) -> Any:
    """Drop nulls and empty containers; a container that holds nothing else is dropped as well."""
    if isinstance(value, Mapping):
        kept = {key: slim for key, item in value.items() if (slim := _without_empty(item)) is not None}
        return kept or None
    if isinstance(value, list | tuple):
        return [_without_empty(item) for item in value] or None
    return value
