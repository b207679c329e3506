"""Directories of the nodes: never without the operator's consent, by whichever field."""

import pytest

from llmfleet.api.deployment import Spec
from llmfleet.api.reasons import Reason
from llmfleet.control.admission import refuse

HF = "hf://org/model"
WAYS = {
    "spec.model.source": {"model": {"source": "hostpath:///data"}},
    "spec.model.adapters[law].source": {
        "model": {"source": HF, "adapters": [{"name": "law", "source": "hostpath:///data"}]}
    },
    "spec.engine.speculative.draftModel": {
        "model": {"source": HF},
        "engine": {"speculative": {"draftModel": "hostpath:///d", "tokens": 2}},
    },
    "spec.model.cache": {"model": {"source": HF, "cache": {"kind": "Node", "path": "/data"}}},
    "spec.podTemplate.volumes": {
        "model": {"source": HF},
        "podTemplate": {"volumes": [{"name": "x", "hostPath": {"path": "/"}}]},
    },
}


@pytest.mark.parametrize(("field", "spec"), WAYS.items())
def test_a_directory_of_the_node_needs_consent(field: str, spec: dict) -> None:
    refusal = refuse(Spec.model_validate(spec), allow_host_path=False)
    assert refusal is not None
    assert refusal.reason is Reason.HOST_PATH_NOT_ALLOWED
    assert refusal.message.startswith(f"{field} mounts")
    assert refuse(Spec.model_validate(spec), allow_host_path=True) is None


def test_everything_else_is_accepted() -> None:
    assert refuse(Spec.model_validate({"model": {"source": "pvc://claim/path"}}), allow_host_path=False) is None
