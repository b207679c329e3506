"""What the API server says of a Deployment, told in the fields of the LLMDeployment that it was made from. Pure.

What a user lays over the pods is not checked when the LLMDeployment is stored; it is refused here, under other names.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from llmfleet.api.deployment import Spec

_PLACE: Final = re.compile(r"""spec\.template\.(?P<path>(?:metadata|spec)(?:\.[A-Za-z]+|\[[^\]]*\])+)""")
_BY_NAME: Final = re.compile(r'containers\[name="[^"]*"\]')
"""A refused apply counts by key what a refused object counts by number."""
_LISTS: Final = ("tolerations", "volumes", "containers[0].volumeMounts")
"""Lists of a pod that begin with items of ours and end with those of spec.podTemplate."""
_FIELDS: Final = {
    "spec.containers[0].volumeMounts": "spec.podTemplate.volumeMounts",
    "spec.containers[0].resources": "spec.resources",
    "spec.containers[0].image": "spec.engine.image",
    "spec.containers[0].env": "spec.engine.env",
    "metadata.labels": "spec.podTemplate.labels",
    "metadata.annotations": "spec.podTemplate.annotations",
    **{
        f"spec.{field}": f"spec.podTemplate.{field}"
        for field in (
            "nodeSelector", "tolerations", "affinity", "topologySpreadConstraints", "runtimeClassName", "volumes",
            "priorityClassName", "schedulerName", "serviceAccountName", "imagePullSecrets", "securityContext",
        )
    },
}  # fmt: skip
"""Where a field of the pods' template comes from."""


def field_to_correct(spec: Spec, wanted: Mapping[str, Any], said: str) -> str:
    """Return the field of an LLMDeployment that is to blame for a refusal, empty where none can be told.

    Args:
        spec: what the object was made from.
        wanted: the object that is refused.
        said: the API server's words.
    """
    return next(_origins(spec, wanted, said), "")


def _origins(spec: Spec, wanted: Mapping[str, Any], said: str) -> Iterator[str]:
    for place in _PLACE.finditer(said):
        path = _BY_NAME.sub("containers[0]", place["path"])
        for ours, theirs in _FIELDS.items():
            rest = path.removeprefix(ours)
            if path.startswith(ours) and (not rest or rest[0] in ".["):
                yield _counted(spec, wanted, ours, f"{theirs}{rest}")


def _counted(spec: Spec, wanted: Mapping[str, Any], ours: str, field: str) -> str:
    """Count the items of a list as the user does, who sees only those of spec.podTemplate."""
    name = ours.removeprefix("spec.")
    item = re.search(r"\[(\d+)\]", field)
    if name not in _LISTS or item is None:
        return field
    pod = wanted["spec"]["template"]["spec"]
    made = pod["containers"][0]["volumeMounts"] if name.endswith("volumeMounts") else pod[name]
    given = {
        "tolerations": spec.pod_template.tolerations,
        "volumes": spec.pod_template.volumes,
        "containers[0].volumeMounts": spec.pod_template.volume_mounts,
    }[name]
    number = int(item[1]) - (len(made) - len(given))
    return f"{field[: item.start()]}[{number}]{field[item.end() :]}" if number >= 0 else field[: item.start()]
