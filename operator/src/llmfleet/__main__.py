"""``llmfleet``: the command of the operator's image."""

import asyncio
import logging
import sys
from importlib.metadata import version

from pydantic import ValidationError
from pydantic_settings import CliApp

from llmfleet.control import logs
from llmfleet.control.process import run
from llmfleet.control.settings import Settings
from llmfleet.kube.errors import ConfigurationError

log = logging.getLogger("llmfleet")

_USAGE = """usage: llmfleet run [flags]     run the operator (llmfleet run --help lists the flags)
       llmfleet version         print the version
"""


def main(arguments: list[str] | None = None) -> int:
    """Run a command of the operator's image and return the exit status of the process."""
    command, *rest = (sys.argv[1:] if arguments is None else arguments) or [""]
    if command == "version":
        sys.stdout.write(f"llmfleet {version('llmfleet')}\n")
        return 0
    if command != "run":
        sys.stderr.write(_USAGE)
        return 0 if command in ("-h", "--help") else 2
    return _run(rest)


def _run(flags: list[str]) -> int:
    try:
        settings = CliApp.run(Settings, cli_args=flags)
    except ValidationError as error:
        for fault in error.errors(include_url=False):
            name = "-".join(str(part) for part in fault["loc"]).replace("_", "-")
            sys.stderr.write(f"llmfleet: --{name} (LLMFLEET_{name.replace('-', '_').upper()}): {fault['msg']}\n")
        return 2
    logs.configure(settings.log_level)
    try:
        asyncio.run(run(settings))
    except ConfigurationError as error:
        log.error("%s", error)  # noqa: TRY400 - the text says it all
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
