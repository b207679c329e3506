"""docs/reference/chart.md: the chart's values as a table, made from values.yaml and the comments in it."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import yaml

from tests.generate.chart import CHART

_HEAD = """<!-- Generated from charts/llmfleet/values.yaml by "make generate": change that, not this file. -->

# Values of the chart

Names and types are checked at install: `helm install` refuses a value that is not in this table.

| Value | Default | Meaning |
|---|---|---|
"""
_KEY = re.compile(r"(?P<indent> *)(?P<name>[A-Za-z]+):(?P<rest>.*)")
_OWN_FORM = frozenset({"strategy", "resources"})
"""Values in Kubernetes' own form: one row, however deep they are."""


@dataclass(frozen=True, slots=True)
class Value:
    """One row: the value's path such as `image.tag`, its default, and the comment above it."""

    path: str
    default: Any
    text: str


def page() -> dict[PurePosixPath, str]:
    """Return the page by its path.

    Raises:
        ValueError: A value has no comment.
    """
    rows = "".join(f"| `{value.path}` | {_code(value.default)} | {value.text} |\n" for value in values())
    return {PurePosixPath("docs/reference/chart.md"): _HEAD + rows}


def values() -> list[Value]:
    """Return every value of the chart in the order of values.yaml.

    Raises:
        ValueError: A value has no comment.
    """
    text = (CHART / "values.yaml").read_text()
    comments, defaults = _comments(text.splitlines()), yaml.safe_load(text)
    found = [Value(path, default, comments.get(path, "")) for path, default in _leaves(defaults)]
    bare = [value.path for value in found if not value.text]
    if bare:
        raise ValueError(f"charts/llmfleet/values.yaml: no comment above {', '.join(bare)}")
    return found


def _leaves(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, dict) and value and name not in _OWN_FORM:
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _comments(lines: list[str]) -> dict[str, str]:
    """Return the comment block right above each key, by the key's path; an empty line ends a block."""
    texts: dict[str, str] = {}
    block: list[str] = []
    parents: list[tuple[int, str]] = []
    for line in lines:
        if line.lstrip().startswith("#"):
            block.append(line.strip().removeprefix("#").strip())
            continue
        if match := _KEY.fullmatch(line):
            indent = len(match["indent"])
            parents = [*((depth, name) for depth, name in parents if depth < indent), (indent, match["name"])]
            texts[".".join(name for _, name in parents)] = " ".join(block)
        block = []
    return texts


def _code(default: Any) -> str:
    return f"`{json.dumps(default)}`"
