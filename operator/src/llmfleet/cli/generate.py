"""Writes what is generated from the models: CustomResourceDefinitions, their copies in the chart, reference pages.

`make generate` writes the files, `make verify` runs the same with `--check` and fails when one is stale.
"""

import argparse
import difflib
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Final

from llmfleet.api.crd import HEADER, crd, dump
from llmfleet.api.deployment import LLM_DEPLOYMENT
from llmfleet.api.markers import CustomResource
from llmfleet.cli.reference import reference

KINDS: Final[tuple[CustomResource, ...]] = (LLM_DEPLOYMENT,)
"""The kinds of this group, in the order in which they are documented."""

_DIFF_LINES: Final = 40
_ANNOTATIONS: Final = "  annotations:\n"
_KEEP: Final = (
    "    {{- if .Values.crds.keep }}\n"
    "    # Without it `helm uninstall` deletes the definition, and with it every object of the kind.\n"
    "    helm.sh/resource-policy: keep\n"
    "    {{- end }}\n"
)


def render_files() -> dict[PurePosixPath, str]:
    """Return the text of every generated file by its path in the repository."""
    files: dict[PurePosixPath, str] = {}
    for kind in KINDS:
        text = dump(crd(kind))
        files[PurePosixPath("crds") / f"{kind.group}_{kind.plural}.yaml"] = text
        files[PurePosixPath("charts/llmfleet/templates/crds") / f"{kind.plural}.yaml"] = chart_template(text)
        files[PurePosixPath("docs/reference") / f"{kind.singular}.md"] = reference(kind)
    return files


def chart_template(text: str) -> str:
    """Return the YAML of a definition as a Helm template that renders to the same YAML.

    As a template, unlike in the chart's own crds/ folder, it is upgraded with the chart. `.Values.crds.enabled` leaves
    it out, `.Values.crds.keep` protects it from `helm uninstall`.
    """
    body = text.removeprefix(HEADER)
    escaped = re.sub(r"\{\{|\}\}", lambda braces: f'{{{{ "{braces[0]}" }}}}', body)
    kept = escaped.replace(_ANNOTATIONS, _ANNOTATIONS + _KEEP, 1)
    return f"{HEADER}{{{{- if .Values.crds.enabled }}}}\n{kept}{{{{- end }}}}\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the files, or with `--check` compare them; return the exit status."""
    return settle(render_files, arguments)


def settle(render: Callable[[], Mapping[PurePosixPath, str]], arguments: Sequence[str] | None = None) -> int:
    """Write generated files, or with `--check` compare them; return the exit status.

    Args:
        render: gives the text of every file by its path in the repository.
        arguments: of the command line, by default the process's own.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 when a file is stale")
    parser.add_argument("--root", type=Path, default=Path(), help="the repository (default: the current directory)")
    options = parser.parse_args(arguments)
    stale = 0
    for path, text in render().items():
        target: Path = options.root / path
        present = target.read_text() if target.exists() else ""
        if present == text:
            continue
        stale += 1
        if options.check:
            sys.stdout.write(_difference(path, present, text))
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
            sys.stdout.write(f"wrote {path}\n")
    if options.check and stale:
        sys.stdout.write(f"{stale} generated file(s) do not match what they are made from: run make generate\n")
        return 1
    return 0


def _difference(path: PurePosixPath, present: str, wanted: str) -> str:
    lines = list(
        difflib.unified_diff(
            present.splitlines(keepends=True), wanted.splitlines(keepends=True), f"{path} (now)", f"{path} (generated)"
        )
    )
    more = len(lines) - _DIFF_LINES
    return "".join(lines[:_DIFF_LINES]) + (f"... {more} more lines\n" if more > 0 else "")


if __name__ == "__main__":
    sys.exit(main())
