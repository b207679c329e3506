"""Makes a tiny random-weight Llama, so that a real engine can be run and tested without downloading anything.

`python -m llmfleet_engine.tiny_model DIR` writes a complete Hugging Face model directory of about 2 MB. The same
seed gives the same bytes. It answers with nonsense; what it is good for is everything around the answer.

Needs numpy and tokenizers, which every engine image has; torch is not needed.
"""

import argparse
import json
import shutil
import struct
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

LAYERS = 2
HIDDEN = 128
HEADS = 2
KEY_VALUE_HEADS = 1
HEAD_SIZE = HIDDEN // HEADS
INTERMEDIATE = 384
DEVIATION = 0.05  # of the random weights
VOCABULARY = 2048
POSITIONS = 65_536  # tokens; enough for a stream of some minutes

BEGIN, END, ROLE, TURN = "<|begin|>", "<|end|>", "<|role|>", "<|turn|>"
CHAT_TEMPLATE = (
    "{{ '" + BEGIN + "' }}"
    "{% for message in messages %}"
    "{{ '" + ROLE + "' + message['role'] + '\\n' + message['content'] + '" + TURN + "' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '" + ROLE + "assistant\\n' }}{% endif %}"
)
FILES = ("config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")

TEXT = """
A fleet of engines serves the models of a company. Each engine loads its weights, warms up and answers requests.
When a new revision arrives it is started beside the old one, and traffic moves over when it is ready to serve.
A request that has begun is finished: nobody likes a story that stops in the middle of a sentence.
The operator watches, compares what is with what should be, and changes as little as it can.
Hello! How are you today? What is the capital of France? Tell me a joke about a lighthouse. Count to ten.
Once upon a time there was a small model that knew nothing at all, and it was happy to say so at great length.
"""
STEMS = """
act add answer ask bind build call carry change check clear close count cover draw drift drop end fail fetch fill
find fold follow form gather grow guard guess hand head help hold join jump keep land lead learn lift light limit
link list load look mark match measure meet mix move name need note open order own pack part pass path plan play
point pool press print pull push queue reach read relay rest return roll run scale seek send serve set shape
share shift show sign sort spin split stand start state step stop store stream sum switch table take talk task
tell test think token touch trace track train treat turn wait walk warm watch weigh work wrap write yield
"""
ENDINGS = ("", "s", "ed", "er", "ers", "ing", "able", "ment", "less", "ness")
BEGINNINGS = ("", "re", "un", "over", "under", "out", "fore", "inter")


def corpus() -> Iterator[str]:
    """Yields the text the tokenizer is trained on: a few sentences, and enough word forms to fill the vocabulary."""
    yield from TEXT.strip().splitlines()
    for beginning in BEGINNINGS:
        for ending in ENDINGS:
            yield " ".join(f"{beginning}{stem}{ending}" for stem in STEMS.split())


def tokenizer() -> Tokenizer:
    """Trains the byte-level BPE; every text can be encoded and decoded back exactly."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[BEGIN, END, ROLE, TURN],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(corpus(), trainer)
    size = made.get_vocab_size()
    if size != VOCABULARY:
        raise RuntimeError(f"the training text gives {size} tokens, not {VOCABULARY}")
    return made


def shapes() -> dict[str, tuple[int, ...]]:
    """Returns every weight's name and shape, as transformers names them for a Llama."""
    named: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (VOCABULARY, HIDDEN)}
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}"
        named |= {
            f"{prefix}.input_layernorm.weight": (HIDDEN,),
            f"{prefix}.self_attn.q_proj.weight": (HEADS * HEAD_SIZE, HIDDEN),
            f"{prefix}.self_attn.k_proj.weight": (KEY_VALUE_HEADS * HEAD_SIZE, HIDDEN),
            f"{prefix}.self_attn.v_proj.weight": (KEY_VALUE_HEADS * HEAD_SIZE, HIDDEN),
            f"{prefix}.self_attn.o_proj.weight": (HIDDEN, HEADS * HEAD_SIZE),
            f"{prefix}.post_attention_layernorm.weight": (HIDDEN,),
            f"{prefix}.mlp.gate_proj.weight": (INTERMEDIATE, HIDDEN),
            f"{prefix}.mlp.up_proj.weight": (INTERMEDIATE, HIDDEN),
            f"{prefix}.mlp.down_proj.weight": (HIDDEN, INTERMEDIATE),
        }
    return named | {"model.norm.weight": (HIDDEN,), "lm_head.weight": (VOCABULARY, HIDDEN)}


def weights(seed: int) -> bytes:
    """Returns a safetensors file in bfloat16: matrices from a normal distribution, norms of one.

    The format (https://huggingface.co/docs/safetensors) is the length of a JSON header, the header, and the numbers.
    """
    random = np.random.default_rng(seed)
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    data = bytearray()
    for name, shape in shapes().items():
        values = np.ones(shape, np.float32)
        if len(shape) > 1:
            values = random.standard_normal(shape, np.float32) * np.float32(DEVIATION)
        begin = len(data)
        data += (values.view(np.uint32) >> 16).astype("<u2").tobytes()  # bfloat16 is the upper half of a float32
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": (begin, len(data))}
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)
    return struct.pack("<Q", len(encoded)) + encoded + data


def config(begin: int, end: int) -> dict[str, object]:
    """Returns config.json; `begin` and `end` are the token ids a text starts and ends with."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": VOCABULARY,
        "hidden_size": HIDDEN,
        "intermediate_size": INTERMEDIATE,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KEY_VALUE_HEADS,
        "head_dim": HEAD_SIZE,
        "hidden_act": "silu",
        "max_position_embeddings": POSITIONS,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": False,
        "dtype": "bfloat16",
        "bos_token_id": begin,
        "eos_token_id": end,
    }


def write(directory: Path, seed: int) -> None:
    """Writes the model's files into an existing directory."""
    bpe = tokenizer()
    begin, end = bpe.token_to_id(BEGIN), bpe.token_to_id(END)
    texts = {
        "config.json": config(begin, end),
        "generation_config.json": {"bos_token_id": begin, "eos_token_id": end},
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": BEGIN,
            "eos_token": END,
            "model_max_length": POSITIONS,
            "clean_up_tokenization_spaces": False,
            "chat_template": CHAT_TEMPLATE,
        },
    }
    for name, content in texts.items():
        (directory / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    (directory / "tokenizer.json").write_text(bpe.to_str(), encoding="utf-8")
    (directory / "model.safetensors").write_bytes(weights(seed))


def complete(directory: Path) -> bool:
    """Tells whether the directory already holds a whole model."""
    return all((directory / name).is_file() for name in FILES)


def make(directory: Path, seed: int = 0) -> bool:
    """Makes the model in `directory`, whole or not at all; several makers at once do no harm.

    Returns:
        True when it was made, False when it was already there.

    Raises:
        FileExistsError: `directory` holds something else.
        OSError: the place cannot be written.
    """
    if complete(directory):
        return False
    if directory.is_dir() and any(directory.iterdir()):
        raise FileExistsError(f"{directory} is not empty and holds no whole model: name another directory")
    directory.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(dir=directory.parent, prefix=f".{directory.name}."))
    try:
        made.chmod(0o755)
        write(made, seed)
        made.replace(directory)
    except OSError:
        if not complete(directory):
            raise
        return False
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return True


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m llmfleet_engine.tiny_model", description=__doc__.split("\n")[0])
    parser.add_argument("directory", type=Path, help="where the model goes, a directory that does not exist yet")
    parser.add_argument("--seed", type=int, default=0, help="another seed is another model")
    options = parser.parse_args(arguments)
    try:
        made = make(options.directory, options.seed)
    except OSError as error:
        sys.stderr.write(f"cannot make the model: {error}\n")
        return 1
    size = sum(file.stat().st_size for file in options.directory.iterdir())
    sys.stdout.write(f"{options.directory}: {'made' if made else 'already there'}, {size / 1e6:.1f} MB\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
