"""The termination log: the file whose text Kubernetes shows as the reason why a container ended."""

import logging
from pathlib import Path

log = logging.getLogger(__name__)


def write(path: Path, cause: str) -> None:
    """Writes the cause, one line. Only into a file that is there: Kubernetes makes it, a shell does not."""
    if not path.exists():
        return
    try:
        path.write_text(" ".join(cause.split()) + "\n", encoding="utf-8")
    except OSError as error:
        log.warning("the termination log %s cannot be written: %s", path, error.strerror)
