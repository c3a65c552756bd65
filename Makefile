# `make` sets up and runs everything; `make test` runs the tests. See README.md.
SHELL := /bin/bash
BIN := .venv/bin
PYTHON ?= $(shell command -v python3.11 || command -v python3)
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV

.PHONY: all again test setup check doctor audit report record restore bench reproducible faults

all: setup
	snakemake --cores all
	engram record

# Run everything once more: nothing may be left to do, every artifact must verify, DVC must agree.
again: setup
	snakemake -n | grep "Nothing to be done"
	engram record
	engram audit
	dvc status --quiet || { dvc status; exit 1; }

test: setup
	pytest

check: setup
	ruff check .
	engram check
	engram advisories || [ $$? = 3 ]  # 1: vulnerabilities; 3: they could not be asked for, as it then says

# Can the active run start on this machine, what will it build, what will it take?
doctor: setup
	engram doctor

audit: setup
	engram audit

# One page of the finished run, report.html: every figure and table, the prompts, the edits, and where each is from.
report: setup
	engram report

record: setup
	engram record

# What was pulled must verify and belong to these params and this code before Snakemake may take it as up to date.
restore: setup
	dvc pull
	engram audit --failed
	@dvc status --quiet || { dvc status; echo "the pulled artifacts belong to other params or code: run make" >&2; exit 1; }
	snakemake --cores all --touch --forceall

# The same bytes from two runs in scratch folders, with other cores and shards? STAGE=trace: of one stage and what it needs.
# AGAINST=folder: compare this folder with the finished run of another clone instead.
reproducible: setup
	engram reproducible $(if $(STAGE),--stage "$(STAGE)") $(if $(AGAINST),--against "$(AGAINST)")

# Kill a small run at 30 random moments and in four ways, resume it each time, and compare it with one that nobody disturbed.
faults: setup
	python tests/faults/kills.py

bench: setup
	python tests/bench/bench_trace.py
	python tests/bench/bench_covariance.py
	python tests/bench/bench_targets.py
	python tests/bench/bench_evaluation.py

setup: .venv/.ready

.venv/.ready: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --no-deps torch==2.13.0
	$(BIN)/pip install --quiet --no-deps -r requirements.lock
	@$(BIN)/python -c "import torch" 2> /dev/null || { echo "torch is a CUDA build here: fetching its libraries (some GB)"; \
	  $(BIN)/pip install --quiet --constraint requirements.lock torch==2.13.0; }
	$(BIN)/pip install --quiet --no-deps --no-build-isolation -e .
	touch $@
