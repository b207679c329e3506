"""What must be there before the engine is started, looked at in a second instead of found out after minutes.

Every check raises CheckError with one line that names the option or path and the remedy. Weights are not read, only
listed; the hub is not asked, since a proxy, a mirror or the cache may well answer where the launcher could not.
"""

import errno
import json
import logging
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from llmfleet_engine.gpu import Gpu, GpuError, NoLibraryError, inventory, shortage, sliced
from llmfleet_engine.options import NVIDIA_GPU, Options, Source

log = logging.getLogger(__name__)

CACHE_VARIABLES = ("HOME", "XDG_CACHE_HOME", "VLLM_CACHE_ROOT", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")
WEIGHTS = ("*.safetensors", "*.bin", "*.pt", "*.pth", "*.gguf")
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "tekken.json", "vocab.json", "spiece.model", "*.tiktoken")
INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
POINTER = b"version https://git-lfs"  # what git leaves where git-lfs is not installed


class CheckError(Exception):
    """Something the engine needs is missing; the text is one line for a person."""


def run(options: Options, environment: Mapping[str, str]) -> tuple[Gpu, ...]:
    """Makes all checks and returns the GPUs found (none looked for with --gpus 0 or another vendor's).

    Raises:
        CheckError: the first thing that is wrong.
    """
    gpus = check_gpus(options, environment)
    check_sources(options)
    if any(source.on_hub for source in options.sources()):
        check_token(environment)
    check_caches(options, environment)
    return gpus


def check_gpus(
    options: Options, environment: Mapping[str, str], find: Callable[[], tuple[Gpu, ...]] = inventory
) -> tuple[Gpu, ...]:
    """Looks for the GPUs the engine was given; counts them where NVML knows what was given."""
    if options.gpus == 0:
        return ()
    if not options.gpu_resource.startswith("nvidia.com/"):
        log.info("%s: not looked for before the start, NVML knows NVIDIA's GPUs only", options.gpu_resource)
        return ()
    try:
        found = find()
    except NoLibraryError as error:
        raise CheckError(
            f"--gpus asks for {options.gpus} GPUs: {error}: the node has no NVIDIA driver, or the container was "
            "started without the NVIDIA runtime; look at the pod's nvidia.com/gpu limit and its runtimeClassName"
        ) from error
    except GpuError as error:
        raise CheckError(f"--gpus asks for {options.gpus} GPUs: {error}") from error
    if options.gpu_resource != NVIDIA_GPU or sliced(environment):
        log.info("%s: not counted, NVML counts whole cards and these may be slices of one", options.gpu_resource)
        return found
    if wrong := shortage(options.gpus, found, environment):
        raise CheckError(wrong)
    return found


def check_sources(options: Options) -> None:
    """Looks at every directory the engine will load from."""
    if not options.model.on_hub:
        check_model("--model", options.model.path, options)
    if options.draft_model is not None and not options.draft_model.on_hub:
        check_model("--draft-model", options.draft_model.path, options)
    for adapter in options.adapters:
        if not adapter.source.on_hub:
            check_adapter(f"--adapter {adapter.name}", adapter.source)


def check_model(option: str, directory: Path, options: Options) -> None:
    """Looks at a model directory; a raw option that changes where the engine looks switches that check off."""
    names = listed(option, directory)
    if not any(options.raw_flag(name) for name in ("--config-format", "--hf-config-path")):
        document = read_json(option, directory / "config.json", "is this a model in Hugging Face format?")
        if not isinstance(document, dict):
            raise CheckError(f"{option}: {directory}/config.json is no JSON object: copy the model again")
    if not options.raw_flag("--load-format"):
        check_weights(option, directory, names)
    if not any(options.raw_flag(name) for name in ("--tokenizer", "--skip-tokenizer-init")):
        check_tokenizer(option, directory)


def listed(option: str, directory: Path) -> set[str]:
    """Returns the names in a directory."""
    try:
        return {entry.name for entry in directory.iterdir()}
    except FileNotFoundError as error:
        raise CheckError(
            f"{option}: directory {directory} does not exist{nearest(directory)}; look at the path and its volume"
        ) from error
    except NotADirectoryError as error:
        raise CheckError(
            f"{option}: {directory} is a file, not a model directory; name the directory it is in"
        ) from error
    except OSError as error:
        raise CheckError(f"{option}: directory {directory} cannot be read: {reason(error)}") from error


def nearest(path: Path) -> str:
    """Tells what there is instead of a missing path: the content of its nearest existing parent."""
    parent = next((parent for parent in path.parents if parent.is_dir()), None)
    if parent is None:
        return ""
    try:
        names = sorted(entry.name for entry in parent.iterdir())
    except OSError:
        return ""
    shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")  # noqa: PLR2004 - fits one line
    return f" ({parent} holds: {shown})" if names else f" ({parent} is empty)"


def reason(error: OSError) -> str:
    """Returns why a path cannot be used, with the remedy where it is a matter of permission."""
    if error.errno in {errno.EACCES, errno.EPERM}:
        return f"permission denied for uid {os.getuid()}: set fsGroup of the pod or make it readable for all"
    return str(error.strerror or error)


def read_json(option: str, path: Path, doubt: str) -> object:
    """Reads a JSON file."""
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise CheckError(f"{option}: {path} does not exist: {doubt}") from error
    except OSError as error:
        raise CheckError(f"{option}: {path} cannot be read: {reason(error)}") from error
    except ValueError as error:  # not JSON, or not even text
        raise CheckError(f"{option}: {path} is not valid JSON ({error}): copy the model again") from error


def check_weights(option: str, directory: Path, names: set[str]) -> None:
    """Looks for the weights: all files an index names, else any; and whether they can be opened."""
    for index in sorted(names.intersection(INDEXES)):
        document = read_json(option, directory / index, "copy the model again")
        mapped = document.get("weight_map") if isinstance(document, dict) else None
        if not isinstance(mapped, dict):
            raise CheckError(f"{option}: {directory}/{index} has no weight_map: copy the model again")
        if missing := sorted({str(name) for name in mapped.values()} - names):
            raise CheckError(
                f"{option}: {len(missing)} weights files that {index} names are missing in {directory}, first "
                f"{missing[0]}: the copy is incomplete"
            )
    found = [path for pattern in WEIGHTS for path in sorted(directory.glob(pattern))]
    if not found:
        raise CheckError(f"{option}: no weights (*.safetensors or *.bin) in {directory}: the copy is incomplete")
    for path in found:
        check_file(option, path)


def check_file(option: str, path: Path) -> None:
    """Opens a weights file and looks at its first bytes."""
    try:
        with path.open("rb") as file:
            begin = file.read(len(POINTER))
    except OSError as error:
        raise CheckError(f"{option}: {path} cannot be read: {reason(error)}") from error
    if not begin:
        raise CheckError(f"{option}: {path} is empty: copy the model again")
    if begin == POINTER:
        raise CheckError(f"{option}: {path} is a git-lfs pointer, not weights: run `git lfs pull` where it was cloned")


def check_tokenizer(option: str, directory: Path) -> None:
    """Looks for a tokenizer."""
    if not any(path for pattern in TOKENIZERS for path in directory.glob(pattern)):
        raise CheckError(
            f"{option}: no tokenizer (tokenizer.json, tokenizer.model, ...) in {directory}: copy the whole model, or "
            "name one with `-- --tokenizer`"
        )


def check_adapter(option: str, source: Source) -> None:
    """Looks at a LoRA adapter's directory."""
    listed(option, source.path)
    read_json(option, source.path / "adapter_config.json", "is this a LoRA adapter in PEFT format?")
    found = [path for pattern in WEIGHTS for path in source.path.glob(pattern)]
    if not found:
        raise CheckError(f"{option}: no weights (adapter_model.safetensors) in {source.path}: the copy is incomplete")
    for path in found:
        check_file(option, path)


def check_token(environment: Mapping[str, str]) -> None:
    """Looks at the hub's token where one is given; its value is never shown."""
    token = environment.get("HF_TOKEN")
    if token is not None:
        if not token.strip():
            raise CheckError("HF_TOKEN is empty: put the token into the Secret's key, or leave tokenSecret out")
        if not token.isascii() or any(character.isspace() for character in token):
            raise CheckError(
                "HF_TOKEN holds a line break, a blank or a character that no token has: make the Secret with "
                "`kubectl create secret generic NAME --from-literal=token=hf_...`"
            )
    if path := environment.get("HF_TOKEN_PATH"):
        try:
            Path(path).read_bytes()
        except OSError as error:
            raise CheckError(f"HF_TOKEN_PATH {path} cannot be read: {reason(error)}") from error


def cache_directories(options: Options, environment: Mapping[str, str]) -> Iterable[tuple[str, Path]]:
    """Yields the directories the engine writes to, with the variable that names each."""
    hub = ("HF_HOME",) if any(source.on_hub for source in options.sources()) else ()
    for variable in (*CACHE_VARIABLES, *hub):
        if value := environment.get(variable):
            yield variable, Path(value)


def check_caches(options: Options, environment: Mapping[str, str]) -> None:
    """Writes to every cache directory, making those that do not exist."""
    for variable, directory in cache_directories(options, environment):
        try:
            directory.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=directory) as file:
                file.write(b"llmfleet")
        except OSError as error:
            raise CheckError(
                f"{variable}: the engine cannot write to {directory} ({error.strerror}): mount a writable volume there"
            ) from error
