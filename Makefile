.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3.11
BIN := .venv/bin
READY := .venv/ready

help:  ## Show these lines
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12

setup: $(READY)  ## Create .venv and install everything, pinned; a second call installs nothing

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt "torch==2.13.0"
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[dev]"
	@touch $@

train: $(READY)  ## Train RoiNet on the shipped sample, evaluate it, print the table and where the figures are
	$(BIN)/python -m wirecell_ml.train

SITE ?= local
sweep: $(READY)  ## Run a study of 12 trials of RoiNet on the sample (SITE=slurm_local: through Slurm, see engines)
	$(BIN)/python -m wirecell_ml.hpo search=roinet experiment=roinet_quick trials=12 pruner=median site=$(SITE)

engines:  ## Install and start Slurm, PostgreSQL, HTCondor and iDDS here, for tests and for SITE=slurm_local (needs root, Debian)
	tests/engines/start.sh

engines-stop:  ## Stop them
	tests/engines/stop.sh

STUDY ?= $(shell ls -td sweeps/*/report 2>/dev/null | head -1 | cut -d/ -f2)
dashboard: $(READY)  ## Look at a study that was reported in optuna-dashboard, at 127.0.0.1:8080 (STUDY=name)
	$(BIN)/optuna-dashboard --host 127.0.0.1 --port 8080 sqlite:///sweeps/$(STUDY)/report/optuna.sqlite3

test: lint $(READY)  ## Format, lint, types, import contracts and tests
	$(BIN)/pytest

lint: $(READY)  ## Format, lint, types and import contracts only
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: $(READY)  ## Let ruff format the code and mend what it can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

benchmark: $(READY)  ## Print the tables of tests/benchmarks (submission through Slurm: python -m tests.benchmarks.submission)
	$(BIN)/python -m tests.benchmarks.data_path
	$(BIN)/python -m tests.benchmarks.reading
	$(BIN)/python -m tests.benchmarks.networks
	$(BIN)/python -m tests.benchmarks.start_up
	$(BIN)/python -m tests.benchmarks.driver_cost
	$(BIN)/python -m tests.benchmarks.search_cost
	$(BIN)/python -m tests.benchmarks.panda_status

fuzz: $(READY)  ## Read 10,000 mutated files of each format; print what became of them
	$(BIN)/python -m tests.fuzz json=.fuzz.json

test-engines: $(READY)  ## Run what takes too long for make test: the tests on a Kubernetes built from source, and on the image that units run in
	WIRECELL_ML_SLOW_ENGINES=1 $(BIN)/pytest tests/submit -m slow_engine

test-panda: $(READY)  ## Run the contract of backends on a PanDA server (PANDA_URL=, PANDA_AUTH_VO=, PANDA_QUEUE=, PANDA_WORKING_GROUP=)
	PANDA_URL=$(PANDA_URL) PANDA_AUTH_VO=$(PANDA_AUTH_VO) PANDA_QUEUE=$(PANDA_QUEUE) PANDA_WORKING_GROUP=$(PANDA_WORKING_GROUP) $(BIN)/pytest tests/submit/test_panda.py

faults: $(READY)  ## Try every fault on real engines, and print the table of docs/sweeps.md
	@rm -f .faults.jsonl
	WIRECELL_ML_FAULT_COUNTS=$(CURDIR)/.faults.jsonl $(BIN)/pytest tests/submit -k "faults or several"
	@$(BIN)/python -m tests.fault_table .faults.jsonl

EVENTS ?= data
BLOBS ?= data/blobs
zoo: $(READY)  ## Measure all of models/ again; write cards, figures and the table (EVENTS=, BLOBS=: folders of the 80 and the 40 events)
	$(BIN)/python -m wirecell_ml.publish files=$(EVENTS) only=[roinet_pdsp,roinet_small_pdsp,unet_width16_pdsp]
	$(BIN)/python -m wirecell_ml.publish files=$(BLOBS) only=[blobgnn_pdsp,blobmlp_pdsp]

clean:  ## Remove .venv and what the tools left (runs/ stays)
	rm -rf .venv dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

.PHONY: help setup train sweep engines engines-stop dashboard faults test test-engines test-panda lint format benchmark fuzz zoo clean
