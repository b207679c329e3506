"""Builds what the tests run, before they begin: it takes long once, shows how far it is, and no time limit runs.

python -m tests.prepare gateway api nodes e2e
"""

import argparse
import concurrent.futures
import sys
from typing import Final

from tests.cluster import ClusterError, images, imagestore, packages
from tests.cluster.gotools import TOOLS_BY_NAME, binary
from tests.e2e import engine_environment

_IMAGES: Final = {"gateway": (), "api": (), "nodes": ("operator", "simulator"), "e2e": ("operator", "engine-cpu")}


def prepare(tiers: list[str]) -> None:
    """Build programs, images and Python environments that are not in the cache yet, for these tiers."""
    wanted = dict.fromkeys(name for tier in tiers for name in _IMAGES[tier])
    with concurrent.futures.ThreadPoolExecutor(max_workers=1, thread_name_prefix="images") as beside:
        # What is downloaded waits mostly for disk and network, the programs for the CPU.
        made = [beside.submit(engine_environment.python)] if "e2e" in tiers else []
        made.append(beside.submit(_store, tuple(wanted)))
        for program in TOOLS_BY_NAME:
            binary(program)
        if "gateway" in tiers:
            packages.haproxy()
        for task in made:
            task.result()


def _store(names: tuple[str, ...]) -> None:
    if names:
        imagestore.ensure({name: (images.reference(name), images.ensure(name)) for name in names})


def main() -> int:
    """Prepare the tiers that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tier", nargs="+", choices=sorted(_IMAGES))
    try:
        prepare(parser.parse_args().tier)
    except ClusterError as error:
        sys.stderr.write(f"{error.report()}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
