"""The launcher inside llmfleet engine images: it checks, starts, warms up, watches and drains vLLM.

It runs beside the engine and must stay light: nothing here imports torch or vllm, nothing touches CUDA, and no
request passes through it. `middleware` and `board` are loaded into the engine's own process as well and therefore
need nothing but the standard library.
"""
