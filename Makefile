# Every target sets up what it needs in .venv; PYTHON chooses the interpreter it is made with.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.DEFAULT_GOAL := help
.PHONY: help demo test test-fast check format lock hooks clean

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: .venv/demo  ## Draw 300 photographs of fruit, run pomona on them, say where the report lies
	@rm -rf demo
	$(BIN)/pomona sample demo/photos
	$(BIN)/pomona run demo/photos demo/out
	@echo "Open $(CURDIR)/demo/out/report.html in a browser."

test: .venv/dev  ## Run every test
	$(BIN)/python -m pytest

test-fast: .venv/dev  ## Run the tests that need no photographs from elsewhere
	$(BIN)/python -m pytest -m "not real"

check: .venv/dev  ## Lint, types, imports, and that the locks name no host
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache --no-logo
	@! grep -nE '[a-z]+://' requirements/*.txt

format: .venv/dev  ## Format the code
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.10 --generate-hashes \
	--no-emit-index-url --no-annotate --custom-compile-command "make lock" pyproject.toml

lock: .venv/dev  ## Resolve the dependencies anew (make lock UPGRADE=--upgrade: to the newest)
	$(LOCK) $(UPGRADE) --group build --output-file requirements/demo.txt
	$(LOCK) $(UPGRADE) --group build --group test --group check --output-file requirements/dev.txt

hooks: .venv/dev  ## Let git run the checks before each commit
	$(BIN)/pre-commit install

clean:  ## Remove what the other targets made
	rm -rf .venv demo build dist .pytest_cache .mypy_cache .ruff_cache

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/%: requirements/%.txt pyproject.toml | .venv/bin/python
	$(PIP) install --require-hashes -r $<
	$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@
