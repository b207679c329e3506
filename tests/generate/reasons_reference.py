"""docs/reference/reasons.md: conditions and reasons with what the code says of each."""

import ast
import inspect
from enum import StrEnum
from pathlib import PurePosixPath

from llmfleet.api import reasons

_HEAD = """<!-- Generated from operator/src/llmfleet/api/reasons.py by "make generate": change that, not this file. -->

# Conditions and reasons

The words that `status.conditions`, Events, the operator's log and the metric `llmfleet_changes_total` use. Each leads
to what to do, in [Troubleshooting](../troubleshooting.md).

## Conditions

| Condition | Question |
|---|---|
"""
_REASONS = """
## Reasons

| Reason | Meaning |
|---|---|
"""


def page() -> dict[PurePosixPath, str]:
    """Return the page by its path.

    Raises:
        ValueError: A condition or reason has no text.
    """
    text = _HEAD + _rows(reasons.ConditionType) + _REASONS + _rows(reasons.Reason)
    return {PurePosixPath("docs/reference/reasons.md"): text}


def _rows(words: type[StrEnum]) -> str:
    texts = _texts(words)
    bare = [word.name for word in words if word.name not in texts]
    if bare:
        raise ValueError(f"{words.__name__}: no text below {', '.join(bare)}")
    return "".join(f"| [{word}](../troubleshooting.md#{word.lower()}) | {texts[word.name]} |\n" for word in words)


def _texts(words: type[StrEnum]) -> dict[str, str]:
    """Return the string below each member, which Python itself forgets."""
    (definition,) = ast.parse(inspect.getsource(words)).body
    assert isinstance(definition, ast.ClassDef)
    texts = {}
    for member, below in zip(definition.body, definition.body[1:], strict=False):
        if isinstance(member, ast.Assign) and isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            (target,) = member.targets
            assert isinstance(target, ast.Name)
            texts[target.id] = str(below.value.value)
    return texts
