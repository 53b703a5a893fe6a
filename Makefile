# Two commands are all there is to know: `make reproduce` and `make test`. Both make their own environment first.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help reproduce test mutations updates lint launchers benchmark environment clean

VENV := .venv
BIN := $(VENV)/bin

# The environment is right for one set of requirements in one folder. Its stamp is named after both and is written
# last, so an interrupted or outdated installation is made again and a finished one is never touched.
STAMP := $(VENV)/.complete-$(shell (pwd; cat pyproject.toml .constraints.txt) | cksum | cut -d' ' -f1)

help:
	@echo 'make reproduce   the quick forgetting experiment on a real small model: table and HTML report'
	@echo 'make test        the tests'
	@echo 'make mutations   the tests of damaged files, with 20,000 damages each'
	@echo 'make updates     the test of four writers at once, with 1,200 patches'
	@echo 'make lint        format, lint and types'
	@echo 'make launchers   add the submitit and Ray launchers for clusters'
	@echo 'make benchmark   add lm-eval for `compose benchmark`'
	@echo 'make clean       remove the environment (results and caches of models stay)'

reproduce: $(STAMP)
	@$(BIN)/python -m experiments.forgetting experiment=quick

# PYTEST_ADDOPTS=--cov make test: also what of the trust core no test takes.
test: $(STAMP)
	@$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

mutations: $(STAMP)
	@COMPOSE_MUTATIONS=20000 $(BIN)/python -m pytest tests/properties -k mutated

updates: $(STAMP)
	@COMPOSE_UPDATES=1200 $(BIN)/python -m pytest tests/unit/trust/test_store.py -k four_writers

lint: $(STAMP)
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy --strict compose experiments tests

# The cluster launchers are optional and large. hydra-ray-launcher 1.2.2 asks for an older cloudpickle than the rest of
# the set needs; it runs with the newer one, so it is added without its requirements.
launchers: $(STAMP)
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet \
	  --constraint .constraints.txt --editable '.[launchers,submitit,ray]'
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps hydra-ray-launcher==1.2.2

# lm-eval brings 32 packages for one verb: whoever wants the verb adds them.
benchmark: $(STAMP)
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet \
	  --constraint .constraints.txt --editable '.[benchmark]'

environment: $(STAMP)

$(STAMP):
	@python=; \
	for candidate in "$${PYTHON:-python3.11}" python3.11 python3 python3.12 python3.13; do \
	  if "$$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    python="$$candidate"; break; \
	  fi; \
	done; \
	if [ -z "$$python" ]; then \
	  echo 'python-missing: the environment cannot be made' >&2; \
	  echo '  expected: Python 3.11 or newer, with venv, as python3.11 or python3' >&2; \
	  echo "  found:    $$(python3 --version 2>&1 || true)" >&2; \
	  echo '  fix:      install it (Debian: python3.11 python3.11-venv), or say where it is: make test PYTHON=/path' >&2; \
	  exit 1; \
	fi; \
	echo "making $(VENV) with $$("$$python" --version): some minutes, once"; \
	"$$python" -m venv --clear $(VENV) \
	  && $(BIN)/python -m pip install --disable-pip-version-check --quiet \
	    --constraint .constraints.txt --editable '.[dev]' \
	  && touch $@

clean:
	rm -rf $(VENV)
