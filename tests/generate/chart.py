"""The chart, rendered by helm without a cluster."""

import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.gotools import binary
from tests.cluster.places import REPOSITORY

CHART = REPOSITORY / "charts" / "llmfleet"
RELEASE, NAMESPACE = "llmfleet", "llmfleet-system"
"""How the documentation installs it."""

_SOURCE = re.compile(r"^---\n# Source: llmfleet/(?P<path>\S+)\n", re.MULTILINE)


class RenderError(Exception):
    """Helm refuses; the message is its own."""


def render(values: dict[str, Any] | None = None, *flags: str, release: str = RELEASE) -> str:
    """Return what `helm template` writes for the given values.

    Raises:
        RenderError: The values are refused, or a template fails.
    """
    return _helm("template", values, release, str(CHART), f"--namespace={NAMESPACE}", *flags)


def lint(values: dict[str, Any] | None = None) -> str:
    """Return what `helm lint --strict` says.

    Raises:
        RenderError: It found something.
    """
    return _helm("lint", values, str(CHART), "--strict", f"--namespace={NAMESPACE}")


def notes(values: dict[str, Any] | None = None) -> str:
    """Return what `helm install` tells at its end.

    Raises:
        RenderError: The values are refused, or a template fails.
    """
    said = _helm("install", values, RELEASE, str(CHART), f"--namespace={NAMESPACE}", "--dry-run=client")
    return said.partition("\nNOTES:\n")[2]


def objects(rendered: str) -> list[dict[str, Any]]:
    """Return the objects of a render."""
    return [document for document in yaml.load_all(rendered, yaml.CSafeLoader) if document]


def by_template(rendered: str) -> dict[str, str]:
    """Return the text that each template gave, by its path in the chart; several documents are set apart by `---`."""
    pieces = _SOURCE.split(rendered)
    texts: dict[str, str] = {}
    for path, text in zip(pieces[1::2], pieces[2::2], strict=True):
        texts[path] = f"{texts[path]}---\n{text}" if path in texts else text
    return texts


def _helm(command: str, values: dict[str, Any] | None, *arguments: str) -> str:
    with tempfile.TemporaryDirectory(prefix="llmfleet-helm-") as folder:
        given = Path(folder, "values.yaml")
        given.write_text(yaml.safe_dump(values or {}))
        homes = {f"HELM_{part}_HOME": folder for part in ("CACHE", "CONFIG", "DATA")}
        done = subprocess.run(
            [str(binary("helm")), command, *arguments, f"--values={given}"],
            env={"PATH": "/usr/bin:/bin", **homes},
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode != 0:
        raise RenderError((done.stdout + done.stderr).strip())
    return done.stdout
