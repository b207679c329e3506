"""Every test of the cluster tool's parts has a cache and a state folder of its own."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("LLMFLEET_CACHE", str(tmp_path / "cache"))
    # The provider that the other tiers were told to use.
    monkeypatch.delenv("LLMFLEET_PROVIDER", raising=False)
    monkeypatch.delenv("LLMFLEET_UNLABELLED", raising=False)
    with tempfile.TemporaryDirectory() as short:
        monkeypatch.setenv("LLMFLEET_STATE", short)
        yield
