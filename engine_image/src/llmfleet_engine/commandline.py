"""What the command line asks for: a launcher, or a mistake to be told where Kubernetes shows it."""

import logging
import sys

from llmfleet_engine import termination
from llmfleet_engine.launcher import ExitCode, launch
from llmfleet_engine.options import TERMINATION_LOG, UsageError, parse


def run(arguments: list[str]) -> int:
    """Runs the launcher; returns the exit status."""
    logging.basicConfig(
        level=logging.INFO,
        stream=sys.stderr,
        format="(llmfleet) %(levelname)s %(asctime)s %(message)s",
        datefmt="%m-%d %H:%M:%S",  # as vLLM writes it, whose lines stand beside ours
    )
    try:
        options = parse(arguments)
    except UsageError as error:
        logging.getLogger("llmfleet").error("%s", error)  # noqa: TRY400 - a person's mistake, not ours: no traceback
        termination.write(TERMINATION_LOG, str(error))
        return ExitCode.USAGE
    return launch(options)
