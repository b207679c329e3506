"""The launcher's command line as one frozen value.

What a line means is decided here and only here; `arguments` turns the value into the engine's own options, `checks`
looks at the world. Nothing here reads a file or the environment.
"""

import argparse
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

HUB = "hf://"
QUANTIZATIONS = ("awq", "gptq", "fp8", "int8", "none")
NVIDIA_GPU = "nvidia.com/gpu"
TERMINATION_LOG = Path("/dev/termination-log")

# The engine's options that belong to the launcher, and what sets them here. After `--` they are refused: two places
# that set one thing would leave it to chance which of them a revision, a check or a person reads. The operator refuses
# the same ones in `spec.engine.args`; a test compares both lists.
OWNED = {
    "--model": "--model",
    "--revision": "--model hf://org/repo@revision",
    "--served-model-name": "--served-model-name",
    "--tensor-parallel-size": "--tensor-parallel-size",
    "--pipeline-parallel-size": "--pipeline-parallel-size",
    "--max-model-len": "--max-model-len",
    "--max-num-seqs": "--max-num-seqs",
    "--gpu-memory-utilization": "--gpu-memory-utilization",
    "--quantization": "--quantization",
    "--dtype": "--dtype",
    "--enable-prefix-caching": "--prefix-caching",
    "--no-enable-prefix-caching": "--prefix-caching",
    "--enable-chunked-prefill": "--chunked-prefill",
    "--no-enable-chunked-prefill": "--chunked-prefill",
    "--speculative-config": "--draft-model and --draft-tokens",
    "--lora-modules": "--adapter",
    "--port": "--port",
    "--shutdown-timeout": "--drain-timeout",
}
# These would take the engine's API away from where the launcher and the Service look for it, or its requests from the
# launcher's count.
IMPOSSIBLE = {
    "--uds": "the API is served on a TCP port",
    "--ssl-keyfile": "TLS ends in front of the engine",
    "--ssl-certfile": "TLS ends in front of the engine",
    "--ssl-ca-certs": "TLS ends in front of the engine",
    "--ssl-cert-reqs": "TLS ends in front of the engine",
    "--ssl-ciphers": "TLS ends in front of the engine",
    "--middleware": "the launcher's own counts the requests",
    "--config": "a file could set what belongs before --; write its options out",
}
SHORT = re.compile(r"-[a-z]")
SECRET = re.compile(r"--(api-k|hf-t)|.*-(key|token|secret|password)$")  # also as vLLM lets a person shorten them


class UsageError(Exception):
    """A command line that cannot be right; the text is one line for a person."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a model or an adapter comes from: a local directory, or a repository of the Hugging Face hub."""

    name: str  # the directory, or org/repo
    on_hub: bool
    revision: str | None = None

    @property
    def path(self) -> Path:
        """Returns the directory; only for a local source."""
        return Path(self.name)


@dataclass(frozen=True, slots=True)
class Adapter:
    """A LoRA adapter and the model name under which clients reach it."""

    name: str
    source: Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Everything the launcher was asked for; None leaves a choice to the engine."""

    model: Source
    served_model_name: str
    gpus: int
    gpu_resource: str
    tensor_parallel_size: int | None
    pipeline_parallel_size: int | None
    max_model_len: int | None  # tokens
    max_num_seqs: int | None
    gpu_memory_utilization: float | None  # share of the GPU's memory, 0-1
    quantization: str | None
    dtype: str | None
    prefix_caching: bool | None
    chunked_prefill: bool | None
    draft_model: Source | None
    draft_tokens: int | None
    adapters: tuple[Adapter, ...]
    drain_timeout_s: float
    propagation_s: float
    port: int
    probe_port: int
    termination_log: Path
    raw: tuple[str, ...]

    def sources(self) -> tuple[Source, ...]:
        """Returns every source the engine will read, the model first."""
        draft = () if self.draft_model is None else (self.draft_model,)
        return (self.model, *draft, *(adapter.source for adapter in self.adapters))

    def raw_shown(self) -> tuple[str, ...]:
        """Returns the raw engine arguments as they may be shown: without the values of secrets."""
        shown, hidden = [], False
        for argument in self.raw:
            name = flag(argument)
            if name:
                hidden = SECRET.match(name) is not None
                shown.append(f"{argument.partition('=')[0]}=***" if hidden and "=" in argument else argument)
            else:
                shown.append("***" if hidden else argument)
        return tuple(shown)

    def raw_flag(self, name: str) -> bool:
        """Tells whether the raw engine arguments hold the option `name`, in any of its spellings."""
        return any(flag(argument) == name for argument in self.raw)

    def raw_value(self, name: str) -> str | None:
        """Returns the value of the option `name` in the raw engine arguments, None where it is not there."""
        for at, argument in enumerate(self.raw):
            if flag(argument) == name:
                _, equals, value = argument.partition("=")
                return value if equals else next(iter(self.raw[at + 1 : at + 2]), None)
        return None


def flag(argument: str) -> str:
    """Returns the option's name in an engine argument: `--max_model_len=8` gives `--max-model-len`.

    vLLM takes underscores for dashes, and `--name.part=value` for a part of a JSON value. What is not an option comes
    back as an empty text.
    """
    if not argument.startswith("-"):
        return ""
    name = argument.partition("=")[0].partition(".")[0]
    return name.replace("_", "-") if name.startswith("--") else name


def source(text: str) -> Source:
    """Reads a SOURCE; raises ArgumentTypeError with what is allowed."""
    if text.startswith(HUB):
        repository, at, revision = text.removeprefix(HUB).partition("@")
        if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository) or (at and not revision):
            raise argparse.ArgumentTypeError(
                f"{text!r} is no hub source: write hf://org/repo or hf://org/repo@revision"
            )
        return Source(repository, on_hub=True, revision=revision or None)
    if "://" in text or not text.startswith("/"):
        raise argparse.ArgumentTypeError(f"{text!r} is neither an absolute directory nor hf://org/repo[@revision]")
    return Source(text, on_hub=False)


def adapter(text: str) -> Adapter:
    """Reads NAME=SOURCE."""
    name, equals, where = text.partition("=")
    if not (name and equals and where):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=SOURCE")
    read = source(where)
    if read.revision is not None:
        raise argparse.ArgumentTypeError(
            f"{text!r}: the engine loads an adapter's newest revision only; leave out @..."
        )
    return Adapter(name, read)


def boolean(text: str) -> bool:
    """Reads true or false."""
    if text not in {"true", "false"}:
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return text == "true"


def whole(least: int, most: int = 2**31 - 1) -> Callable[[str], int]:
    """Returns a reader of whole numbers from `least` to `most`."""

    def read(text: str) -> int:
        if not re.fullmatch(r"\d+", text) or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least} to {most}")
        return int(text)

    return read


def seconds(text: str) -> float:
    """Reads a number of seconds, zero or more."""
    if not re.fullmatch(r"\d+(\.\d+)?", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return float(text)


def share(text: str) -> float:
    """Reads a share above 0 and up to 1."""
    if not re.fullmatch(r"[01]?(\.\d+)?", text) or not text or not 0 < float(text) <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a share above 0 and up to 1")
    return float(text)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


def parser() -> argparse.ArgumentParser:
    """Returns the parser of everything before `--`."""
    made = _Parser(
        prog="python -m llmfleet_engine",
        description="Starts vLLM, watches it and stops it without losing a request.",
        epilog="Everything after -- goes to the engine unchanged.",
        allow_abbrev=False,
    )
    model = made.add_argument_group("model")
    model.add_argument("--model", type=source, required=True, metavar="SOURCE", help="directory or hf://org/repo[@rev]")
    model.add_argument("--served-model-name", required=True, metavar="NAME", help='what clients send as "model"')
    model.add_argument("--quantization", choices=QUANTIZATIONS)
    model.add_argument("--dtype", metavar="D", help="e.g. auto, bfloat16, float16")
    model.add_argument("--max-model-len", type=whole(1), metavar="TOKENS", help="longest prompt and answer together")
    model.add_argument("--draft-model", type=source, metavar="SOURCE", help="small model for speculative decoding")
    model.add_argument("--draft-tokens", type=whole(1, 64), metavar="N", help="tokens it proposes at a time")
    model.add_argument("--adapter", type=adapter, action="append", default=[], metavar="NAME=SOURCE", help="LoRA")
    engine = made.add_argument_group("engine")
    engine.add_argument("--gpus", type=whole(0, 1024), required=True, metavar="N", help="of this container; 0 = CPU")
    engine.add_argument(
        "--gpu-resource", default=NVIDIA_GPU, metavar="R", help="what counts them; default " + NVIDIA_GPU
    )
    engine.add_argument("--tensor-parallel-size", type=whole(1, 1024), metavar="N")
    engine.add_argument("--pipeline-parallel-size", type=whole(1, 1024), metavar="N")
    engine.add_argument("--max-num-seqs", type=whole(1), metavar="N", help="requests in one batch")
    engine.add_argument("--gpu-memory-utilization", type=share, metavar="SHARE", help="of each GPU's memory, 0-1")
    engine.add_argument("--prefix-caching", type=boolean, metavar="true|false")
    engine.add_argument("--chunked-prefill", type=boolean, metavar="true|false")
    life = made.add_argument_group("life")
    life.add_argument("--drain-timeout", type=seconds, default=300.0, metavar="S", help="from SIGTERM; default 300")
    life.add_argument("--propagation", type=seconds, default=10.0, metavar="S", help="still serving; default 10")
    life.add_argument("--port", type=whole(1, 65_535), default=8000, help="of the engine's API; default 8000")
    life.add_argument("--probe-port", type=whole(1, 65_535), default=8001, help="of the probes; default 8001")
    life.add_argument("--termination-log", type=Path, default=TERMINATION_LOG, metavar="FILE")
    return made


def parse(arguments: Sequence[str]) -> Options:
    """Reads the command line.

    Raises:
        UsageError: it cannot be right; the text names the option and what it takes.
    """
    ours, raw = list(arguments), []
    if "--" in ours:
        at = ours.index("--")
        ours, raw = ours[:at], ours[at + 1 :]
    read = vars(parser().parse_args(ours))
    read["drain_timeout_s"] = read.pop("drain_timeout")
    read["propagation_s"] = read.pop("propagation")
    read["adapters"] = tuple(read.pop("adapter"))
    options = Options(**read, raw=tuple(raw))
    check_together(options)
    check_raw(options.raw)
    return options


def check_together(options: Options) -> None:
    """Refuses options that do not fit each other."""
    needed = (options.tensor_parallel_size or 1) * (options.pipeline_parallel_size or 1)
    if 0 < options.gpus < needed:
        raise UsageError(
            f"--gpus {options.gpus} is less than --tensor-parallel-size times --pipeline-parallel-size = {needed}"
        )
    if (options.draft_model is None) != (options.draft_tokens is None):
        raise UsageError("--draft-model and --draft-tokens need each other")
    names = [options.served_model_name, *(adapter.name for adapter in options.adapters)]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UsageError(
            f"the model name {twice!r} is given twice: --served-model-name and every --adapter need their own"
        )
    if options.port == options.probe_port:
        raise UsageError(f"--port and --probe-port are both {options.port}")


def check_raw(raw: Sequence[str]) -> None:
    """Refuses raw engine arguments that set what the launcher sets, in full or as short as vLLM takes them."""
    for argument in raw:
        name = flag(argument)
        if SHORT.match(name):
            raise UsageError(f"{name} after -- is refused: write the long option")
        for option in (*OWNED, *IMPOSSIBLE) if len(name) > len("--") else ():
            if option.startswith(name):
                short = "" if option == name else f"it is short for {option}: "
                why = f"{OWNED[option]} before -- sets it" if option in OWNED else IMPOSSIBLE[option]
                raise UsageError(f"{name} after -- is refused: {short}{why}")
