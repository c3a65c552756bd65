# `make` sets up and runs everything; `make test` runs the tests. See README.md.
SHELL := /bin/bash
BIN := .venv/bin
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV

.PHONY: all test setup check audit record restore bench clean

all: setup
	snakemake --cores all
	engram record

setup: .venv/.ready

.venv/.ready: requirements.lock pyproject.toml
	python3.11 -m venv .venv
	$(BIN)/pip install --quiet --no-deps torch==2.13.0
	$(BIN)/pip install --quiet --no-deps -r requirements.lock
	$(BIN)/pip install --quiet --no-deps --no-build-isolation -e .
	touch $@
