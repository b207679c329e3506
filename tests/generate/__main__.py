"""Writes or, with --check, compares all generated files: those of the models, manifests/base, docs/reference.

Not a part of the operator, because the manifests are rendered by helm, which the cluster tool builds.
"""

import sys
from pathlib import PurePosixPath

from llmfleet.cli.generate import render_files, settle
from tests.cluster import ClusterError
from tests.generate import base, chart_reference, metrics_reference, reasons_reference, settings_reference


def files() -> dict[PurePosixPath, str]:
    """Return the text of every generated file by its path in the repository."""
    pages = (chart_reference, metrics_reference, reasons_reference, settings_reference)
    written = [render_files(), base.manifests(), *(reference.page() for reference in pages)]
    return {path: text for texts in written for path, text in texts.items()}


if __name__ == "__main__":
    try:
        sys.exit(settle(files))
    except ClusterError as error:
        sys.exit(error.report())
