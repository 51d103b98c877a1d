# What a developer does, by name. Everything is installed into .venv, in the versions of
# constraints.txt; a second run installs nothing.

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell for name in python3.11 python3.12 python3.13 python3.14 python3; do \
	$$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo $$name && break; done)
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.DEFAULT_GOAL := help
.PHONY: help run test lint types format lock clean

help: ## List the targets
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 21

run: $(VENV)/run ## Serve gateway.yaml, the example of this repository
	$(BIN)/sockgw run gateway.yaml

test: $(VENV)/test ## Run the tests; some of them: make test ARGS=tests/runtime
	$(BIN)/python tests/js/install.py
	$(BIN)/python -m tests.clients.install
	$(BIN)/python -m tests.programs.apt
	$(BIN)/python -m tests.programs.nats
	$(BIN)/python -m tests.programs.redis
	$(BIN)/python -W error -X dev -m pytest -n auto --dist worksteal $(ARGS)

lint: $(VENV)/test ## Check style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/test ## Check the types
	$(BIN)/mypy

format: $(VENV)/test ## Mend style and format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: $(VENV)/made ## Bring constraints.txt to the newest versions that pyproject.toml allows
	$(INSTALL) pip-tools
	CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/pip-compile --quiet --upgrade --all-extras \
		--strip-extras --no-emit-index-url --no-emit-find-links --no-emit-trusted-host \
		--output-file constraints.txt pyproject.toml

include bench/Makefile.inc

clean: ## Remove what was installed, built and cached
	rm -rf $(VENV) tests/js/node_modules tests/clients/node_modules \
		tests/clients/.installed tests/programs/.installed build dist .mypy_cache .pytest_cache .ruff_cache \
		.hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

$(VENV)/made:
	@test -n "$(PYTHON)" || { echo "sockgw needs Python 3.11 or later, and found none:" \
		"install it, or name it: make $(MAKECMDGOALS) PYTHON=/path/to/python3" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/run: $(VENV)/made pyproject.toml constraints.txt
	$(INSTALL) --editable .
	@touch $@

$(VENV)/test: $(VENV)/made pyproject.toml constraints.txt
	$(INSTALL) --editable '.[test]'
	@touch $@ $(VENV)/run
