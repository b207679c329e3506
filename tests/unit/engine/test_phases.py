from pathlib import Path

import pytest

from llmfleet_engine.phases import Phase, announced

OUTPUTS = Path(__file__).parent / "outputs"


def told(output: str) -> list[Phase]:
    """Returns the phases in the order in which the launcher would go through them."""
    phases: list[Phase] = []
    for line in output.splitlines():
        phase = announced(line)
        if phase is not None and (not phases or phases[-1].before(phase)):
            phases.append(phase)
    return phases


def test_a_start_on_the_cpu_goes_through_its_phases() -> None:
    assert told((OUTPUTS / "healthy.txt").read_text()) == [Phase.LOADING_WEIGHTS, Phase.WARMING_UP]


@pytest.mark.parametrize(
    ("line", "phase"),
    [
        ("(EngineCore pid=9) INFO 05-06 20:59:20 [gpu_model_runner.py:5040] Starting to load model org/m...", "load"),
        ("Loading safetensors checkpoint shards:  56% Completed | 5/9 [00:13<00:11,  2.87s/it]", "load"),
        ("(Worker_TP0 pid=9) INFO 05-06 20:59:57 [default_loader.py:384] Loading weights took 24.84 seconds", "load"),
        ("INFO 05-06 20:59:57 [weight_utils.py:533] Time spent downloading weights for org/m: 51.2 seconds", "load"),
        ("INFO 05-06 21:00:16 [backends.py:1069] Using cache directory: /c for vLLM's torch.compile", "compile"),
        ("INFO 05-06 21:00:16 [backends.py:1128] Dynamo bytecode transform time: 3.54 s", "compile"),
        ("INFO 05-06 21:00:20 [backends.py:399] Compiling a graph for compile range (1, 8192) takes 9.1 s", "compile"),
        ("INFO 05-06 21:00:20 [monitor.py:53] torch.compile took 14.85 s in total", "compile"),
        ("INFO 02-18 04:51:47 monitor.py:31] torch.compile takes 5.96 s in total", "compile"),
        ("INFO 05-06 21:00:25 [gpu_worker.py:760] Available KV cache memory: 56.18 GiB", "warm"),
        ("Capturing CUDA graphs (mixed prefill-decode, PIECEWISE):  20%|##        | 7/35", "warm"),
        ("INFO 05-06 21:01:25 [gpu_model_runner.py:6582] Graph capturing finished in 21 secs, took 0.95 GiB", "warm"),
        ("INFO 05-06 21:01:26 [core.py:386] init engine (profile, create kv cache, warmup model) took 95.1 s", "warm"),
        ('INFO:     127.0.0.1:5 - "POST /v1/completions HTTP/1.1" 200 OK', None),
        ("INFO 11-21 11:22:40 [compilation.py:317] Enabled custom fusions: norm_quant, act_quant", None),
        ("", None),
    ],
)
def test_lines_of_gpu_engines(line: str, phase: str | None) -> None:
    names = {"load": Phase.LOADING_WEIGHTS, "compile": Phase.COMPILING, "warm": Phase.WARMING_UP, None: None}
    assert announced(line) is names[phase]


def test_phases_are_in_the_order_of_a_life() -> None:
    assert Phase.CHECKING.before(Phase.STARTING)
    assert Phase.COMPILING.before(Phase.WARMING_UP)
    assert not Phase.READY.before(Phase.READY)
    assert Phase.DRAINING.before(Phase.FAILED)
