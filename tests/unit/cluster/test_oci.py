import io
import json
import os
import tarfile
import time
from pathlib import Path

from tests.cluster import oci
from tests.cluster.oci import Entry, Recipe

RECIPE = Recipe(
    {"bin": Entry(), "bin/tool": Entry(b"program"), "bin/alias": Entry(link="tool"), "tmp": Entry(mode=0o1777)},
    {"Cmd": ["/bin/tool"]},
)
OTHER = Recipe({"bin/tool": Entry(b"another program")}, {"Cmd": ["/bin/tool"]})


def names(stream: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(stream)) as tar:
        return tar.getnames()


def blob(digest: str) -> Path:
    return oci.layout() / "blobs" / digest.replace(":", "/")


def test_the_same_recipe_always_makes_the_same_image() -> None:
    reordered = Recipe(dict(reversed(RECIPE.entries.items())), RECIPE.config)
    assert oci.pack(RECIPE) == oci.pack(reordered)
    assert RECIPE.identity() == reordered.identity()
    assert oci.pack(RECIPE) != oci.pack(OTHER)
    assert RECIPE.identity() != Recipe(RECIPE.entries, {"Cmd": ["/bin/alias"]}).identity()


def test_a_layer_keeps_modes_links_and_folders() -> None:
    with tarfile.open(fileobj=io.BytesIO(RECIPE.layer())) as tar:
        members = {member.name: member for member in tar}
    assert members["bin"].isdir()
    assert members["bin/alias"].linkname == "tool"
    assert members["tmp"].mode == 0o1777
    assert all(member.mtime == 0 and member.uid == 0 for member in members.values())


def test_a_stream_has_all_blobs_but_those_the_receiver_knows() -> None:
    image = oci.pack(RECIPE)
    parts = oci.blobs(image)
    everything = io.BytesIO()
    oci.stream(image, ["registry/tool:1", "registry/tool:kept"], set(), everything)
    paths = names(everything.getvalue())
    assert paths[:2] == ["oci-layout", "index.json"]
    assert set(paths[2:]) == {f"blobs/{digest.replace(':', '/')}" for digest in parts}
    with tarfile.open(fileobj=io.BytesIO(everything.getvalue())) as tar:
        index = tar.extractfile("index.json")
        assert index is not None
        manifests = json.load(index)["manifests"]
    given = [manifest["annotations"]["io.containerd.image.name"] for manifest in manifests]
    assert given == ["registry/tool:1", "registry/tool:kept"]

    nothing = io.BytesIO()
    oci.stream(image, ["registry/tool:1"], set(parts), nothing)
    assert names(nothing.getvalue()) == ["oci-layout", "index.json"]


def test_a_sweep_deletes_what_no_kept_image_uses_unless_it_is_new() -> None:
    kept, dropped, new = oci.pack(RECIPE), oci.pack(OTHER), oci.pack(Recipe({"new": Entry(b"new")}))
    long_ago = time.time() - 86400
    for digest in [*oci.blobs(kept), *oci.blobs(dropped)]:
        os.utime(blob(digest), (long_ago, long_ago))
    oci.sweep([kept])
    assert oci.complete(kept)
    assert not oci.complete(dropped)
    assert oci.complete(new)
