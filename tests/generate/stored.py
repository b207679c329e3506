"""Keeps what this version stores, for the tests of later ones: `python -m tests.generate.stored`, at each release.

Writes the CustomResourceDefinition and objects that use every field as the API server stores them under it. A version
that is kept already is not written again: what people run does not change afterwards.
"""

import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from llmfleet.api.crd import crd, dump
from llmfleet.api.deployment import LLM_DEPLOYMENT, Spec
from llmfleet.api.status import Status
from llmfleet.decide.revision import revision_hash
from tests.api.crd_cases import ALTERNATIVES, FULL, STATUS, deployment
from tests.unit.api.made_specs import as_stored
from tests.unit.api.stored_objects import REVISION, STORED, bare


def objects() -> Iterator[dict[str, Any]]:
    """Yield the objects as the API server stores them: with defaults, without nulls."""
    for number, given in enumerate((FULL, {}, *ALTERNATIVES)):
        made = deployment(given, name=f"stored-{number}")
        spec = Spec.model_validate(as_stored(made["spec"])).model_dump(mode="json", by_alias=True, exclude_none=True)
        made["spec"] = bare(spec)
        made["metadata"]["annotations"] = {REVISION: revision_hash(made["spec"])}
        yield {**made, "status": STATUS}


def main(folder: Path = STORED) -> int:
    """Write the two files of this version; return the exit status."""
    name = f"v{version('llmfleet')}"
    definition, kept = folder / f"{name}.definition.yaml", folder / f"{name}.objects.yaml"
    if kept.exists():
        sys.stderr.write(f"{kept} exists: objects of that version are stored somewhere, so it stays as it is\n")
        return 1
    Status.model_validate(STATUS)
    definition.write_text(dump(crd(LLM_DEPLOYMENT)))
    kept.write_text(yaml.safe_dump_all(objects(), sort_keys=False))
    sys.stdout.write(f"wrote {definition} and {kept}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
