# Set up and run Cordboard. `make help` lists the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help

.PHONY: help setup protos format lint demo test bench clean

help: ## Show this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## Make .venv and install everything, with generated stubs

# Depends on the protos, so that a changed contract means new stubs without anybody remembering it.
$(STAMP): pyproject.toml protos/build.py $(shell find protos -name '*.proto')
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[server,dev]'
	@touch $@

protos: $(STAMP) ## Compile the protos again
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python protos/build.py

format: $(STAMP) ## Format the code
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix --select I .
