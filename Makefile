# Every target sets up what it needs in $(VENV); the second call finds it done.
PYTHON ?= python3.11
VENV ?= .venv
PIP_ARGS ?=
CPUS := $(shell nproc 2>/dev/null || echo 2)

BIN := $(VENV)/bin
RUN := env HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1 TOKENIZERS_PARALLELISM=false
# Numerical libraries would each start a thread per core and then wait for one another.
THREADS = OMP_NUM_THREADS=$(1) MKL_NUM_THREADS=$(1) OPENBLAS_NUM_THREADS=$(1)
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -c constraints.txt

.PHONY: demo test lint format bench docs clean help

help:
	@echo "make demo    index the shipped knowledge base, ask it under four profiles, print what came"
	@echo "make test    all tests"
	@echo "make lint    ruff and pyright"
	@echo "make format  let ruff rewrite what it can"
	@echo "make bench   the headline figures, printed again on this machine"
	@echo "make docs    regenerate the generated pages"

demo: $(VENV)/.ready
	$(RUN) $(call THREADS,$(CPUS)) $(BIN)/slarag demo

test: $(VENV)/.ready-dev
	$(RUN) $(call THREADS,1) $(BIN)/python -m pytest -n $(CPUS) --dist loadfile -q

lint: $(VENV)/.ready-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

format: $(VENV)/.ready-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.ready-dev
	@for script in bench/[a-z]*.py; do \
	  echo "== $$script"; $(RUN) $(call THREADS,$(CPUS)) $(BIN)/python $$script || exit 1; done

docs: $(VENV)/.ready-dev
	$(RUN) $(BIN)/python -m slarag.cli.reference docs/cli.md

clean:
	rm -rf build dist .pytest_cache .ruff_cache .hypothesis

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.ready: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) -e ".[serve]"
	@touch $@

$(VENV)/.ready-dev: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) -e ".[dev,serve]"
	@touch $@ $(VENV)/.ready
