# llmfleet. `make demo` shows it, `make test` checks it; `make help` lists the rest.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

CACHE ?= $(or $(LLMFLEET_CACHE),$(HOME)/.cache/llmfleet)
UV_VERSION := 0.13.9
UV := $(CACHE)/uv-$(UV_VERSION)/bin/uv
RUN := $(UV) run --frozen
CLUSTER := $(RUN) python -m tests.cluster
PREPARE := $(RUN) python -m tests.prepare
# Two lanes (tests/conftest.py), each with clusters of its own: one of them waits most of its time. LANES=0: one after the other.
LANES ?= 2

# Who provides the clusters of tests and of cluster-up: local, kind or context:NAME (tests/cluster/README.md).
PROVIDER ?= $(LLMFLEET_PROVIDER)
export LLMFLEET_PROVIDER := $(PROVIDER)
NODES ?= 1

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z][a-z0-9-]*:.*## /{printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# --- see it -----------------------------------------------------------------------------------------------------------

demo: $(UV) ## A real cluster on this machine, llmfleet installed, a model served by real vLLM
	@$(RUN) python -m tests.demo up

demo-down: $(UV) ## Take the demo away and leave the machine as it was
	@$(RUN) python -m tests.demo down

gpu-check: $(UV) ## On a machine with an NVIDIA GPU: the launcher's GPU check and a reading, without a cluster
	@$(RUN) --package llmfleet-engine python -m llmfleet_engine.gpu_check

# --- check it ---------------------------------------------------------------------------------------------------------

test: $(UV) ## Every test: unit, api (real API server), nodes (real pods), e2e (real vLLM); PROVIDER as below
	@$(PREPARE) api nodes e2e
	@$(RUN) pytest -n $(LANES) --dist loadscope --no-loadscope-reorder

test-unit: $(UV) ## Tests that need nothing but Python
	@$(RUN) pytest tests/unit

test-gateway: $(UV) ## Tests of the gateway's data plane, not yet a part of make test: real HAProxy, simulated engines
	@$(PREPARE) gateway
	@$(RUN) pytest tests/gateway

test-api: $(UV) ## Tests against a real control plane without nodes
	@$(PREPARE) api
	@$(RUN) pytest tests/api

test-nodes: $(UV) ## Tests on real nodes with simulated engines
	@$(PREPARE) nodes
	@$(RUN) pytest tests/nodes

test-e2e: $(UV) ## Tests on real nodes with the packaged vLLM image
	@$(PREPARE) e2e
	@$(RUN) pytest tests/e2e

bench-control: $(UV) ## The control plane's cost beside a bare loop, as JSON lines (MODELS=200,1000)
	@$(RUN) python -m tests.bench.control $(if $(MODELS),--models $(MODELS))

verify: lint type ## Everything that can be checked without running: style, types, layers, generated files, chart
	@$(UV) lock --check -q
	@$(RUN) lint-imports --no-cache
	@$(RUN) python -m tests.generate --check

lint: $(UV) ## Style of the Python code
	@$(RUN) ruff format --check .
	@$(RUN) ruff check .

type: $(UV) ## Types of the Python code
	@$(RUN) mypy

# --- change it --------------------------------------------------------------------------------------------------------

generate: $(UV) ## Write what is made from the models: crds/, the chart's CRDs, manifests/base, docs/reference
	@$(RUN) python -m tests.generate

format: $(UV) ## Format the Python code and mend what ruff can mend
	@$(RUN) ruff check --fix -q . || true
	@$(RUN) ruff format -q .

images: $(UV) ## Build the images: operator, engine-cpu, simulator
	@$(CLUSTER) image operator simulator engine-cpu

cluster-up: $(UV) ## A bare test cluster; NODES=2, PROVIDER=kind or PROVIDER=context:NAME choose another
	@$(CLUSTER) up --nodes $(NODES)

cluster-down: $(UV) ## Take the bare test cluster away
	@$(CLUSTER) down

$(UV):
	@echo "installing uv $(UV_VERSION) below $(CACHE)"
	@python3 -m venv $(CACHE)/uv-$(UV_VERSION) || { apt-get install -y -qq python3-venv && python3 -m venv $(CACHE)/uv-$(UV_VERSION); }
	@$(CACHE)/uv-$(UV_VERSION)/bin/pip install -q --disable-pip-version-check uv==$(UV_VERSION)

.PHONY: help demo demo-down gpu-check test test-unit test-gateway test-api test-nodes test-e2e bench-control verify lint type generate format \
	images cluster-up cluster-down
