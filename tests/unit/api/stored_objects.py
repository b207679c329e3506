"""What the API server stored under earlier versions, as files: see test_growth.py."""

from pathlib import Path
from typing import Any

import pytest
import yaml

STORED = Path(__file__).parent / "stored"
DEFINITIONS = sorted(STORED.glob("*.definition.yaml"))
OBJECTS = [
    pytest.param(stored, id=f"{path.name.split('.objects')[0]}-{stored['metadata']['name']}")
    for path in sorted(STORED.glob("*.objects.yaml"))
    for stored in yaml.safe_load_all(path.read_text())
]
REVISION = "test.llmfleet.dev/revision"
"""Annotation that remembers which revision the object asked for when it was stored."""


def bare(value: Any) -> Any:
    """Drop what says nothing: empty lists and objects mean the same as none."""
    if isinstance(value, dict):
        kept = {key: bare(inner) for key, inner in value.items()}
        return {key: inner for key, inner in kept.items() if inner not in ({}, [])}
    return [bare(inner) for inner in value] if isinstance(value, list) else value
