"""``spec.model``: which weights are served, under which name, and where they come from."""

from typing import Annotated, Literal

from pydantic import Field

from llmfleet.api.markers import cel, list_map, rules
from llmfleet.api.part import Part

SOURCE_PATTERN = (
    r"^(hf://[A-Za-z0-9][A-Za-z0-9_.-]*/[A-Za-z0-9_.-]+(@[A-Za-z0-9_./-]+)?"
    r"|pvc://[a-z0-9]([a-z0-9.-]*[a-z0-9])?(/[A-Za-z0-9_./-]*)?"
    r"|hostpath:///[A-Za-z0-9_./-]+)$"
)
_SOURCE_MESSAGE = (
    "must be hf://org/repo[@revision], pvc://claim/path or hostpath:///path, "
    "for example hf://meta-llama/Llama-3.1-8B-Instruct"
)
_NO_DOT_DOT = "must not contain two dots in a row: name the directory itself"

Source = Annotated[
    str,
    Field(min_length=1, max_length=512),
    cel(f"self.matches(r'{SOURCE_PATTERN}')", _SOURCE_MESSAGE),
    cel("!self.contains('..')", _NO_DOT_DOT),
]
"""Where weights lie. A URL, so that one field can grow new schemes."""


class SecretKey(Part):
    """One key of a Secret in the namespace of this object."""

    name: str = Field(description="Name of the Secret.", min_length=1, max_length=253)
    key: str | None = Field(None, description="Key inside the Secret. Default: token.", min_length=1, max_length=253)


@rules(
    cel(
        "self.kind == 'PVC' ? has(self.claimName) : !has(self.claimName)",
        "claimName names the PersistentVolumeClaim of kind PVC: set it there, and only there",
        field_path=".claimName",
    ),
    cel(
        "self.kind == 'Node' ? has(self.path) : !has(self.path)",
        "path names a directory of the node for kind Node: set it there, and only there",
        field_path=".path",
    ),
)
class Cache(Part):
    """Where downloaded weights and compiled kernels are kept between starts of an engine."""

    kind: Literal["PVC", "Node", "None"] = Field(
        description="PVC shares a claim between all pods, Node uses a directory of each node (the operator must allow "
        "host paths), None forgets everything with the pod.",
    )
    claim_name: str | None = Field(
        None, description="PersistentVolumeClaim to use, kind PVC only.", min_length=1, max_length=253
    )
    path: Annotated[str | None, cel("!self.contains('..')", _NO_DOT_DOT)] = Field(
        None,
        description="Directory on the node, kind Node only; it must exist and be writable for uid 65532.",
        pattern="^/[A-Za-z0-9_./-]*$",
        max_length=512,
    )


class Adapter(Part):
    """One LoRA adapter, served beside the model under its own name."""

    name: str = Field(
        description="The name clients send as model.", pattern="^[A-Za-z0-9][A-Za-z0-9_./-]*$", max_length=128
    )
    source: Source = Field(description="Where the adapter lies, in the same forms as model.source.")


@rules(
    cel(
        "!has(self.name) || !has(self.adapters) || !self.adapters.exists(a, a.name == self.name)",
        "an adapter cannot have the name of the model: clients would not know which of the two they get",
        field_path=".adapters",
    ),
)
class Model(Part):
    """The model: its source and the name under which clients ask for it."""

    name: str | None = Field(
        None,
        description="The name clients send as model. Default: the name of this object.",
        pattern="^[A-Za-z0-9][A-Za-z0-9_./:-]*$",
        max_length=128,
    )
    source: Source = Field(
        description="Where the weights lie: hf://org/repo[@revision] on the Hugging Face hub, pvc://claim/path in a "
        "PersistentVolumeClaim of this namespace, or hostpath:///path on every node (for tests; the operator must "
        "allow it).",
    )
    token_secret: SecretKey | None = Field(None, description="Secret with the token for the Hugging Face hub.")
    cache: Cache | None = Field(
        None, description="Where downloads and compiled kernels are kept between starts. Default: kind None."
    )
    adapters: Annotated[tuple[Adapter, ...], list_map("name")] = Field(
        (), description="LoRA adapters served beside the model.", max_length=32
    )
