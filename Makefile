# On a fresh machine `make demo` and `make test` are all the set-up there is.

PYTHON ?= python3
PORT ?= 8000
TESTS ?=
ENVIRONMENT = $(PYTHON) scripts/environment.py
BIN = .venv/bin
# Six files of tests at once, because much of it is waiting.
PARALLEL = --numprocesses=6 --dist=loadfile

# A second run of the environment script is a no-op.
.PHONY: help environment demo test test-all test-matrix test-long test-pairs services client lint docs bench bench-quick chaos mutate coverage clean

help:
	@echo 'make demo      the demo page on http://127.0.0.1:$(PORT)/ (PORT=...)'
	@echo 'make test      each behaviour once, in minutes; TESTS=path for all of a file. Tests of missing programs are skipped by name'
	@echo 'make test-all  every database, server, browser, Python and Django, and the long tests'
	@echo 'make services  install the servers and browsers that tests use (Debian, as root)'
	@echo 'make client    the bundles of the browser client, and its types'
	@echo 'make lint      ruff, mypy, import-linter, biome, tsc     make docs    the documentation'
	@echo 'make bench     this package beside others, long; bench-quick: small numbers'
	@echo 'make chaos     publishers, servers, clients and databases that fail at once, ten minutes on each database'
	@echo 'make mutate    changes in the source that no test notices, a sample (MUTANTS="--module hub --count 20")'
	@echo 'make clean     remove what was made'

demo:
	@$(ENVIRONMENT) .demo/venv demo
	@PORT=$(PORT) .demo/venv/bin/python -m serversent.demo --folder .demo

environment:
	@$(ENVIRONMENT) .venv dev

# With TESTS, all of what they name.
test: environment
ifdef TESTS
	@$(BIN)/python -m pytest --matrix -m "not long" $(TESTS)
else
	@$(BIN)/python -m pytest -q -m "not long" $(PARALLEL)
endif

test-all: test-matrix test-long test-pairs

# Fewer at once: each server and browser of the matrix has more of the machine, and the run takes hardly longer.
test-matrix: environment
	@$(BIN)/python -m pytest -q --matrix -m "not long" --numprocesses=4 --dist=loadfile

test-long: environment
	@$(BIN)/python -m pytest -q --matrix -m long

test-pairs: environment
	@$(BIN)/nox --no-color --session newest tests servers

services:
	@$(PYTHON) scripts/services.py

node_modules: package-lock.json
	@npm install --silent --no-save --ignore-scripts && touch node_modules

client: node_modules
	@npm run --silent build && npm run --silent build:notifications

lint: environment node_modules
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python scripts/prose.py
	@npm run --silent lint

docs: environment
	@$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo 'docs/_build/html/index.html'

bench: environment
	@$(BIN)/python -W ignore -m benchmarks.run
	@$(BIN)/python -m benchmarks.report

bench-quick: environment
	@$(BIN)/python -W ignore -m benchmarks.run --quick

chaos: environment
	@$(BIN)/python -W ignore -m tests.chaos $(CHAOS)

mutate: environment
	@$(BIN)/python scripts/mutate.py $(MUTANTS)

coverage: environment
	@$(BIN)/coverage run -m pytest --matrix -m "not long" && $(BIN)/coverage combine -q && $(BIN)/coverage report

clean:
	rm -rf .venv .demo .nox node_modules .coverage* htmlcov dist docs/_build .pytest_cache .mypy_cache .ruff_cache
