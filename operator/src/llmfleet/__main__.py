"""``llmfleet``: the command of the operator's image."""

import asyncio
import logging
import sys
from collections.abc import Callable, Coroutine
from importlib.metadata import version
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_settings import CliApp

from llmfleet.control import logs
from llmfleet.control.process import run
from llmfleet.control.settings import Settings
from llmfleet.gateway import agent
from llmfleet.gateway.settings import AgentSettings
from llmfleet.kube.errors import ConfigurationError

log = logging.getLogger("llmfleet")

SettingsT = TypeVar("SettingsT", Settings, AgentSettings)

_USAGE = """usage: llmfleet run [flags]             run the operator (llmfleet run --help lists the flags)
       llmfleet gateway-agent [flags]   run the agent of a gateway's pod
       llmfleet version                 print the version
"""


def main(arguments: list[str] | None = None) -> int:
    """Run a command of the operator's image and return the exit status of the process."""
    command, *rest = (sys.argv[1:] if arguments is None else arguments) or [""]
    if command == "version":
        sys.stdout.write(f"llmfleet {version('llmfleet')}\n")
        return 0
    if command == "run":
        return _run(Settings, run, rest)
    if command == "gateway-agent":
        return _run(AgentSettings, agent.run, rest)
    sys.stderr.write(_USAGE)
    return 0 if command in ("-h", "--help") else 2


def _run(kind: type[SettingsT], process: Callable[[SettingsT], Coroutine[Any, Any, None]], flags: list[str]) -> int:
    try:
        settings = CliApp.run(kind, cli_args=flags)
    except ValidationError as error:
        prefix = kind.model_config.get("env_prefix", "")
        for fault in error.errors(include_url=False):
            name = "-".join(str(part) for part in fault["loc"]).replace("_", "-")
            sys.stderr.write(f"llmfleet: --{name} ({prefix}{name.replace('-', '_').upper()}): {fault['msg']}\n")
        return 2
    logs.configure(settings.log_level)
    try:
        asyncio.run(process(settings))
    except ConfigurationError as error:
        log.error("%s", error)  # noqa: TRY400 - the text says it all
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
