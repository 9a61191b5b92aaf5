# Sets up, runs and checks Cordboard. `make help` lists the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
NODE_DIR := tests/node
NODE_STAMP := $(NODE_DIR)/node_modules/.package-lock.json
WEB_STAMP := web/node_modules/.package-lock.json
PROTOS := $(shell find protos -name '*.proto')
# What the demo imports beside its own vendor: `make demo OPENAPI="a.json b.yaml"`.
OPENAPI ?=
# Images of Python often set this. Each of the many processes here would then compile every module again.
unexport PYTHONDONTWRITEBYTECODE
# How many processes run the tests on whole meshes, each with meshes of its own; with 0, one after the other here.
E2E_PROCESSES ?= 0

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

.PHONY: help setup protos baseline docs format lint types imports contract-lint unit e2e test demo soak scale bench conformance node web clean

help: ## Show this list
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## Make .venv and install everything, with generated stubs

# Depends on the protos, so that a changed contract means new stubs without anybody remembering it.
$(STAMP): pyproject.toml protos/build.py $(PROTOS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV) (about half a minute the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[server,dev]'
	@touch $@

demo: $(STAMP) ## Do the main job end to end, on a mesh of its own (OPENAPI="FILE ..." adds real descriptions)
	@$(if $(OPENAPI),$(MAKE) --no-print-directory node,true)
	@$(BIN)/cordboard demo $(foreach file,$(OPENAPI),--openapi $(file))

test: lint unit e2e ## Run every check: lint, types, borders, protos, and all tests
	@echo "All checks passed."

lint: $(STAMP) ## Check style, types, borders between modules, and protos
	@echo "== style";   $(BIN)/ruff check . && $(BIN)/ruff format --check --quiet .
	@echo "== types";   $(BIN)/mypy services tests bench docs
	@echo "== borders"; $(BIN)/lint-imports --no-logo
	@echo "== protos";  $(BIN)/python protos/check.py

unit: $(STAMP) node ## Run the unit and contract tests
	@echo "== unit and contract tests"
	@$(BIN)/python -m tests.again tests/unit tests/contract -n 2 --dist loadscope -q

e2e: $(STAMP) node ## Run the scenarios and the end-to-end tests on a whole mesh
	@echo "== scenarios and end-to-end tests"
	@$(BIN)/python -m tests.again tests/scenarios tests/e2e -n $(E2E_PROCESSES) --dist loadfile -q

soak: $(STAMP) node ## Run the long suites: faults, kills, fuzz (about an hour)
	@$(BIN)/pytest tests/soak -q -rA -s

scale: $(STAMP) node ## Measure with big catalogs, many edges and real API descriptions
	@$(BIN)/python -m tests.scale

bench: $(STAMP) ## Measure, as ratios against baselines of the same run
	@$(BIN)/python -m bench

conformance: $(STAMP) node ## Write docs/conformance.md from runs of other people's clients (TESTBED and SCHEMAS: folders)
	@test -n "$(TESTBED)" || { echo "TESTBED has to be a folder with open-feature/flagd-testbed"; exit 1; }
	@test -n "$(SCHEMAS)" || { echo "SCHEMAS has to be a folder with open-feature/flagd-schemas"; exit 1; }
	@$(BIN)/python -m tests.conformance --testbed "$(TESTBED)" --schemas "$(SCHEMAS)"

node: ## Install the checks' Node.js programs, where Node.js is there
	@if command -v npm >/dev/null; then $(MAKE) --no-print-directory $(NODE_STAMP) $(WEB_STAMP); \
	else echo "######## Node.js is missing: the checks that need it will be SKIPPED ########"; fi

$(NODE_STAMP): $(NODE_DIR)/package-lock.json
	@echo "Installing the checks' Node.js programs"
	@cd $(NODE_DIR) && npm ci --no-progress --loglevel=error
	@touch $@

$(WEB_STAMP): web/package-lock.json
	@echo "Installing what web/ is compiled with"
	@cd web && npm ci --no-progress --loglevel=error
	@touch $@

web: $(WEB_STAMP) ## Compile what runs in browsers into the files that are served
	@cd web && node build.mjs

protos: $(STAMP) ## Compile the protos again
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python protos/build.py

baseline: $(STAMP) ## Accept the protos as they are as what later changes must not break
	@$(BIN)/python protos/check.py --accept

docs: $(STAMP) ## Write the generated pages of docs/ and the JSON Schema of definitions again
	@$(BIN)/python docs/generate.py
	@image=$$(mktemp) && trap 'rm -f "$$image"' EXIT && cd protos && \
	../$(BIN)/python -c 'import sys, build; build.write_image(sys.argv[1])' "$$image" && cd .. && \
	$(BIN)/python -m cordboard.catalog.schema "$$image" integrations/schema.json

format: $(STAMP) ## Format the code
	@$(BIN)/ruff check --fix --select I --quiet .
	@$(BIN)/ruff format --quiet .

clean: ## Remove everything that is not in git and not precious
	@rm -rf $(VENV) $(NODE_DIR)/node_modules web/node_modules .cordboard .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find services tests bench docs protos -name __pycache__ -not -path '*/node_modules/*' -prune -exec rm -rf {} +
