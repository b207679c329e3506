"""Writes or, with --check, compares all generated files: those of the models, manifests/base, docs/reference/chart.md.

Not a part of the operator, because the manifests are rendered by helm, which the cluster tool builds.
"""

import sys
from pathlib import PurePosixPath

from llmfleet.cli.generate import render_files, settle
from tests.cluster import ClusterError
from tests.generate import base, chart_reference


def files() -> dict[PurePosixPath, str]:
    """Return the text of every generated file by its path in the repository."""
    return {**render_files(), **base.manifests(), **chart_reference.page()}


if __name__ == "__main__":
    try:
        sys.exit(settle(files))
    except ClusterError as error:
        sys.exit(error.report())
