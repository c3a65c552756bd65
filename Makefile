#   make               set up, run everything that is out of date, record it: figures/ and results/
#   make again         run once more: nothing may be left to do, every artifact must verify, DVC must agree
#   make real          the same for a pretrained model, run.real of params.yaml (ENGRAM_MODELS=real make again: once more)
#   make setup         .venv from requirements.lock, in one go, nothing resolved
#   make check         style, formatting, types, contracts between packages, params.yaml, known vulnerabilities
#   make test          the checks, then the tests
#   make test-long     the tests that `make test` leaves out: whole runs killed, compared, and through an object store
#   make smoke         a pretrained model through the whole workflow, in miniature; says so where its package cannot be had
#   make faults        kill a small run at 30 random moments, resume it, compare it with an undisturbed one (long)
#   make reproducible  run twice in scratch folders and compare every byte (long); STAGE=trace, AGAINST=folder
#   make bench         time the engines beside the plain ways of computing the same (long)
#   make doctor        can the active run start on this machine, what will it build, what will it take
#   make audit         verify every artifact
#   make record        verify the artifacts of the active models and put the run into dvc.lock
#   make restore       pull artifacts, verify them, and tell Snakemake that they are up to date
#   make report        one page of the finished run, report.html
#   make help          this list
# After `make setup`, `source .venv/bin/activate` gives the plain commands. See README.md and CONTRIBUTING.md.
SHELL := /bin/bash
BIN := .venv/bin
PYTHON ?= $(shell command -v python3.11 || command -v python3)
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV

.PHONY: all again real smoke setup check test test-long faults reproducible bench doctor audit record restore report help

all: setup
	snakemake --cores all
	engram record

again: setup
	snakemake -n | grep "Nothing to be done"
	engram record
	engram audit
	engram status

real:
	ENGRAM_MODELS=real $(MAKE) all

test: check
	pytest

test-long: setup
	pytest -m long

check: setup
	ruff check .
	ruff format --check .
	mypy
	lint-imports
	engram check
	engram advisories || [ $$? = 3 ]  # 1: vulnerabilities; 3: they could not be asked for, as it then says

doctor: setup
	engram doctor

audit: setup
	engram audit

report: setup
	engram report

record: setup
	engram record

# What was pulled must verify and belong to these params and this code before Snakemake may take it as up to date.
restore: setup
	dvc pull
	engram audit --failed
	@engram status || { echo "the pulled artifacts belong to other params or code: run make" >&2; exit 1; }
	snakemake --cores all --touch --forceall

# The same bytes from two runs in scratch folders, with other cores and shards? STAGE=trace: of one stage and what it needs.
# AGAINST=folder: compare this folder with the finished run of another clone instead.
reproducible: setup
	engram reproducible $(if $(STAGE),--stage "$(STAGE)") $(if $(AGAINST),--against "$(AGAINST)")

smoke: setup
	PYTHONPATH=tests/support python tests/real/smoke.py

faults: setup
	python tests/faults/kills.py

bench: setup
	python tests/bench/bench_trace.py
	python tests/bench/bench_covariance.py
	python tests/bench/bench_targets.py
	python tests/bench/bench_evaluation.py

help:
	@sed -n 's/^#   //p' Makefile

setup: .venv/.ready

.venv/.ready: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --no-deps torch==2.13.0
	$(BIN)/pip install --quiet --no-deps -r requirements.lock
	@$(BIN)/python -c "import torch" 2> /dev/null || { echo "torch is a CUDA build here: fetching its libraries (some GB)"; \
	  $(BIN)/pip install --quiet --constraint requirements.lock torch==2.13.0; }
	$(BIN)/pip install --quiet --no-deps --no-build-isolation -e .
	touch $@
