# Everything works from nothing but Python 3.11-3.13 and make: each target creates .venv and installs what it needs,
# in the versions that CI tested (constraints.txt).

PYTHON ?= $(firstword $(foreach name,python3 python3.13 python3.12 python3.11 python,\
	$(shell $(name) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo $(name))))
VENV := .venv
RUN := $(VENV)/bin/python
DEMO ?= demo
# Test processes: one per core, at most 4 (each starts JAX, and compiled programs use several threads already).
WORKERS ?= $(shell n=$$(nproc 2>/dev/null || sysctl -n hw.ncpu 2>/dev/null || echo 1); echo $$((n < 4 ? n : 4)))
# The version that bench and lock install. Newer ones bring gigabytes of CUDA where no CPU build is offered.
TORCH ?= 2.13.0

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test test-all ways lint format bench bench-compare notebooks lock clean

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.plot  ## Resample and reorient a real oblique scan; write it and a picture to demo/
	$(RUN) -m medjax demo --force --output $(DEMO)

test: $(VENV)/.dev  ## Run all tests and doctests
	@if [ -d build/compiled ]; then find build/compiled -type f -atime +14 -delete; fi
	$(RUN) -m pytest -n $(WORKERS) --dist worksteal

test-all: $(VENV)/.dev  ## Run the long sweeps as well
	$(RUN) -m pytest -n $(WORKERS) --dist worksteal -m "long or not long"

ways: $(VENV)/.dev  ## Draw the table of ways from twenty seeds, or from SEEDS=1,2,3
	@seeds="$(SEEDS)"; seeds=$${seeds:-$$($(RUN) -c 'import os; print(*(int.from_bytes(os.urandom(3), "big") for _ in range(20)), sep=",")')}; \
		echo "SEEDS=$$seeds"; MEDJAX_WAYS_WHOLE=1 MEDJAX_WAYS_SEEDS=$$seeds $(RUN) -m pytest -n $(WORKERS) tests/ways/test_ways.py

lint: $(VENV)/.dev  ## Check format, rules and types
	$(RUN) -m ruff format --check
	$(RUN) -m ruff check
	$(RUN) -m mypy

format: $(VENV)/.dev  ## Apply the format and the rules that fix themselves
	$(RUN) -m ruff format
	$(RUN) -m ruff check --fix

bench: $(VENV)/.bench  ## Run every benchmark; JSON and tables go to benchmarks/results/
	@for script in $(filter-out $(addprefix benchmarks/,harness.py report.py compare.py),$(wildcard benchmarks/*.py)) benchmarks/report.py; do echo "== $$script"; $(RUN) $$script || exit 1; done

bench-compare: $(VENV)/.bench  ## Time this checkout and BEFORE=<git revision> in turns: BENCHMARKS="spatial nifti" ROUNDS=3 TURNS=3
	@test -n "$(BEFORE)" || { echo "say what to compare with: make bench-compare BEFORE=<git revision>" >&2; exit 1; }
	$(RUN) benchmarks/compare.py "$(BEFORE)" $(BENCHMARKS) $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(TURNS),--turns $(TURNS))

notebooks: $(VENV)/.dev  ## Execute every notebook; an error in one fails
	$(RUN) notebooks/execute.py

lock:  ## Record in constraints.txt the newest versions that install together
	rm -rf build/lock
	$(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip install -qq --upgrade pip
	build/lock/bin/python -m pip install -qq --editable ".[dev,bench]" torch==$(TORCH)
	{ echo "# The versions that CI tests; written by make lock."; \
	  build/lock/bin/python -m pip freeze --exclude-editable | sed 's/+cpu$$//'; } > constraints.txt
	rm -rf build/lock

clean:  ## Remove the environment and everything that was generated
	rm -rf $(VENV) build demo .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp for each set of extras; they share one environment.
$(VENV)/.plot $(VENV)/.dev $(VENV)/.bench: $(VENV)/.%: pyproject.toml constraints.txt | $(RUN)
	@echo "installing medjax[$*] into $(VENV)"
	@$(RUN) -m pip install -qq --disable-pip-version-check --constraint constraints.txt --editable ".[$*]"
	@touch $@

$(RUN):
	@test -n "$(PYTHON)" || { echo "no Python 3.11, 3.12 or 3.13 found; say which with PYTHON=/path/to/python" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
		{ echo "$(PYTHON) is not Python 3.11, 3.12 or 3.13; say which with PYTHON=/path/to/python" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)
