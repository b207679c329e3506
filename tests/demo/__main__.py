"""Command line of the demo: python -m tests.demo up|down."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from types import FrameType

from tests.cluster import ClusterError, LocalCluster
from tests.cluster.places import MACHINE_STATE, cache_dir, state_root
from tests.cluster.progress import duration
from tests.demo import change, chat, diagnosis, ground, model, tour
from tests.demo.screen import Style, heading, say, styled
from tests.demo.site import CLUSTER, MODEL, NAMESPACE, Site

_PARTS = 7


def main(arguments: list[str]) -> int:
    """Run one command and return the exit status: 0, 1 when a step failed, 130 when interrupted."""
    signal.signal(signal.SIGTERM, _interrupt)
    parser = argparse.ArgumentParser(prog="python -m tests.demo", description=__doc__)
    parser.add_argument("command", choices=("up", "down"))
    site = Site(LocalCluster(CLUSTER))
    run = up if parser.parse_args(arguments).command == "up" else down
    try:
        return run(site)
    except KeyboardInterrupt:
        say(
            styled("Interrupted.", Style.BAD) + " `make demo` goes on from here, `make demo-down` takes all of it away."
        )
        return 130


def up(site: Site) -> int:
    """Show everything; what is there already is kept."""
    part = _Parts()
    began = time.monotonic()
    say(f"llmfleet: a real cluster on this machine and a model served by real vLLM, in {_PARTS} steps.")
    if not (cache_dir() / "images" / "engine-cpu").exists():
        say("The first time, Kubernetes and the images are built: that takes about half an hour on two cores.")
    try:
        way_back, url = _show(site, part)
    except ClusterError as error:
        heading(styled(f"Step {part.number} of {_PARTS} failed: {part.title}", Style.BAD))
        say(error.report())
        diagnosis.explain(site)
        say("`make demo` tries again from here; `make demo-down` takes everything away for a fresh start.")
        return 1
    tour.show(site, url, way_back)
    say()
    say(f"{styled('Done', Style.GOOD)} in {duration(time.monotonic() - began)}.")
    return 0


def _show(site: Site, part: _Parts) -> tuple[str, str]:
    """Go through the steps; return the command that takes the change back, and the Service's URL on this machine."""
    part.begin("Programs and images")
    ground.build(site)
    part.begin("A cluster with one node")
    ground.prepare_cluster(site)
    part.begin("The operator, installed from its chart")
    ground.install_operator(site)
    part.begin("A tiny model with random weights, and its LLMDeployment")
    ground.make_volume(site)
    model.apply(site)
    part.begin(f"llm/{MODEL} becomes Ready")
    model.wait_until_ready(site)
    part.begin("Three chat completions through the Service (the weights are random, and so are the words)")
    url = site.cluster.expose(NAMESPACE, MODEL, "http")
    chat.converse(url)
    part.begin("A change of the spec, while two clients go on asking")
    return change.roll(site, url), url


def down(site: Site) -> int:
    """Take everything away."""
    try:
        site.cluster.down()
    except ClusterError as error:
        say(error.report())
        return 1
    say(
        f"The machine is as before, but for the build cache ({cache_dir()}), Debian packages that were installed, "
        f".venv, and the folders {state_root()} and {MACHINE_STATE}."
    )
    return 0


class _Parts:
    """Counts the steps and remembers which one is under way."""

    def __init__(self) -> None:
        self.number = 0
        self.title = "start"

    def begin(self, title: str) -> None:
        self.number += 1
        self.title = title
        heading(f"{self.number}/{_PARTS}  {title}")


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
