"""The demo: a model served by real vLLM on a real cluster on this machine, in one command."""
