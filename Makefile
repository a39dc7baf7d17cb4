# Every verb sets itself up. Needed: make, a Python >=3.11,<3.14 with venv, and a package index.
# Choose the Python with `make setup PYTHON=/path/to/python`; pip's own settings (PIP_FIND_LINKS, ...) are honored.

VENV  := .venv
BIN   := $(VENV)/bin
STAMP := $(VENV)/.stamp
DATA  ?= ../shared/data
CACHE ?= build/features
OUT   ?= build/bench
MODEL := smollm2-135m

CANDIDATES := $(if $(PYTHON),$(PYTHON),python3.11 python3.12 python3.13 python3)
SUITABLE   := import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup model demo test check bench bench-detectors bars detectors clients clean

help:
	@echo "make setup      create $(VENV) with everything in it (minutes once, then nothing)"
	@echo "make demo       score the example sentences with the shipped detector"
	@echo "make test       the whole test suite, with the examples of docstrings and README"
	@echo "make check      lint, format, types"
	@echo "make bench      measure speed and memory"
	@echo "make bench-detectors  measure rivals, controls and the shipped detectors on DATA=$(DATA)"
	@echo "make bars       one table of what the shipped detectors of toxicity reach on DATA=$(DATA)"
	@echo "make detectors  fit the shipped detectors again, from DATA=$(DATA); MODEL=NAME OUTPUT=DIR: those of another model"
	@echo "make clients    run real clients and the plug-ins against the server, each in an environment of its own; writes docs/clients.md"
	@echo "make clean      remove $(VENV), caches and builds"

setup: $(STAMP)

$(STAMP): pyproject.toml
	@set -e; \
	if ! $(BIN)/python -c '$(SUITABLE)' 2>/dev/null; then \
	    found=; \
	    for candidate in $(CANDIDATES); do \
	        if $$candidate -c '$(SUITABLE)' 2>/dev/null; then found=$$candidate; break; fi; \
	    done; \
	    if [ -z "$$found" ]; then \
	        echo "make: none of [$(CANDIDATES)] is a Python >=3.11,<3.14 with the modules venv and ensurepip;" \
	             "install one (Debian: also its -venv package) or name it: make setup PYTHON=/path/to/python" >&2; \
	        exit 1; \
	    fi; \
	    rm -rf $(VENV); \
	    echo "creating $(VENV) with $$found"; \
	    $$found -m venv $(VENV); \
	fi; \
	echo "installing splinelens and its dependencies into $(VENV) (minutes the first time)"; \
	$(BIN)/python -m pip install --editable '.[dev,plot]'; \
	touch $@; \
	echo "ready; next: source $(BIN)/activate, then splinelens --help, or make demo"

# The default model is fetched once and then lies in the user's cache.
model: $(STAMP)
	@$(BIN)/splinelens models pull $(MODEL) >/dev/null || { \
	    echo "make: $(MODEL) is not cached and could not be fetched; SKIP_MODEL=1 skips the tests that need it" >&2; \
	    test -n "$(SKIP_MODEL)"; }

demo: $(STAMP)
	$(BIN)/python examples/demo.py

# Files run in their order. By default those with the fewest tests run last, and the slowest file has five.
test: $(STAMP) model
	OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(STAMP)
	$(BIN)/python benchmarks/run.py
	$(BIN)/python benchmarks/geometry.py
	$(BIN)/python benchmarks/timings.py $(if $(wildcard $(DATA)),--data $(DATA) --texts 120,--only one cold) -o $(OUT)/timings.json

# Options of these scripts go into ARGS, such as ARGS="--quick --only transfer".
bench-detectors: $(STAMP)
	$(BIN)/python benchmarks/bench_detectors.py --data $(DATA) --cache $(CACHE) -o $(OUT) $(ARGS)

bars: $(STAMP)
	$(BIN)/python benchmarks/bars.py --data $(DATA) --cache $(CACHE) -o $(OUT)/bars.md $(ARGS)

detectors: $(STAMP)
	$(BIN)/python benchmarks/detectors.py --data $(DATA) --cache $(CACHE) --model $(MODEL) $(if $(OUTPUT),--output $(OUTPUT)) $(ARGS)
	$(if $(OUTPUT),,$(BIN)/python benchmarks/truth.py --data $(DATA) --cache $(CACHE)/truth --ship)

# Some of the environments hold torch; together they take some gigabytes of build/clients.
clients: $(STAMP) model
	$(BIN)/python -m pip install --quiet uv==0.13.9
	PATH="$(CURDIR)/$(BIN):$$PATH" HF_HUB_OFFLINE=1 $(BIN)/python tests/clients/run.py $(ARGS)

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache
	find src tests examples benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
