"""``spec.model``: which weights are served, under which name, and where they come from."""

from typing import Annotated, Literal

from pydantic import Field

from llmfleet.api.markers import cel, list_map, matches, rules
from llmfleet.api.part import Items, Part
from llmfleet.api.references import DataKey, ObjectName

SOURCE_PATTERN = (
    r"^(hf://[A-Za-z0-9][A-Za-z0-9_.-]*/[A-Za-z0-9_.-]+(@[A-Za-z0-9_./-]+)?"
    r"|pvc://[a-z0-9]([a-z0-9.-]*[a-z0-9])?(/[A-Za-z0-9_./-]*)?"
    r"|hostpath:///[A-Za-z0-9_./-]+)$"
)
_SOURCE_MESSAGE = (
    "must be hf://org/repo[@revision], pvc://claim/path or hostpath:///path, "
    "for example hf://meta-llama/Llama-3.1-8B-Instruct"
)
_NO_DOT_DOT = cel(
    "!self.contains('..')",
    "must not contain two dots in a row: name the directory itself",
    lambda text: ".." not in text,
)
_SERVED_NAME = "must be letters, digits and the signs {signs}, beginning with a letter or digit"

Source = Annotated[
    str,
    Field(min_length=1, max_length=512),
    matches(SOURCE_PATTERN, _SOURCE_MESSAGE),
    _NO_DOT_DOT,
]
"""Where weights lie. A URL, so that one field can grow new schemes."""


class SecretKey(Part):
    """One key of a Secret in the namespace of this object."""

    name: ObjectName = Field(description="Name of the Secret.")
    key: DataKey | None = Field(None, description="Key inside the Secret. Default: token.")


@rules(
    cel(
        "self.kind == 'PVC' ? has(self.claimName) : !has(self.claimName)",
        "claimName names the PersistentVolumeClaim of kind PVC: set it there, and only there",
        lambda cache: (cache.kind == "PVC") == (cache.claim_name is not None),
        field_path=".claimName",
    ),
    cel(
        "self.kind == 'Node' ? has(self.path) : !has(self.path)",
        "path names a directory of the node for kind Node: set it there, and only there",
        lambda cache: (cache.kind == "Node") == (cache.path is not None),
        field_path=".path",
    ),
)
class Cache(Part):
    """Where downloaded weights and compiled kernels are kept between starts of an engine."""

    kind: Literal["PVC", "Node", "None"] = Field(
        description="PVC shares a claim between all pods, Node uses a directory of each node (the operator must allow "
        "host paths), None forgets everything with the pod.",
    )
    claim_name: ObjectName | None = Field(None, description="PersistentVolumeClaim to use, kind PVC only.")
    path: (
        Annotated[
            str,
            Field(max_length=512),
            matches("^/[A-Za-z0-9_./-]*$", "must be an absolute path of letters, digits, '_', '.', '/' and '-'"),
            _NO_DOT_DOT,
        ]
        | None
    ) = Field(
        None,
        description="Directory on the node, kind Node only; it must exist and be writable for uid 65532.",
    )


class Adapter(Part):
    """One LoRA adapter, served beside the model under its own name."""

    name: Annotated[
        str,
        Field(max_length=128),
        matches("^[A-Za-z0-9][A-Za-z0-9_./-]*$", _SERVED_NAME.format(signs="'_', '.', '/' and '-'")),
    ] = Field(description="The name clients send as model.")
    source: Source = Field(description="Where the adapter lies, in the same forms as model.source.")


@rules(
    cel(
        "!has(self.name) || !has(self.adapters) || !self.adapters.exists(a, a.name == self.name)",
        "an adapter cannot have the name of the model, since clients would not know which of the two they get: rename "
        "one of the two",
        lambda model: model.name is None or all(adapter.name != model.name for adapter in model.adapters),
        field_path=".adapters",
    ),
)
class Model(Part):
    """The model: its source and the name under which clients ask for it."""

    name: (
        Annotated[
            str,
            Field(max_length=128),
            matches("^[A-Za-z0-9][A-Za-z0-9_./:-]*$", _SERVED_NAME.format(signs="'_', '.', '/', ':' and '-'")),
        ]
        | None
    ) = Field(None, description="The name clients send as model. Default: the name of this object.")
    source: Source = Field(
        description="Where the weights lie: hf://org/repo[@revision] on the Hugging Face hub, pvc://claim/path in a "
        "PersistentVolumeClaim of this namespace, or hostpath:///path on every node (for tests; the operator must "
        "allow it).",
    )
    token_secret: SecretKey | None = Field(None, description="Secret with the token for the Hugging Face hub.")
    cache: Cache | None = Field(
        None, description="Where downloads and compiled kernels are kept between starts. Default: kind None."
    )
    adapters: Annotated[Items[Adapter], list_map("name")] = Field(
        (), description="LoRA adapters served beside the model.", max_length=32
    )
