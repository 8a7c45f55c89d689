# Everything runs in .venv, created on first use from pinned packages whose hashes are checked:
# constraints.txt holds what the program and its build need, constraints-dev.txt adds tests, linters, docs, benchmarks and
# optional extras.

PYTHON ?= python3
JOBS   ?= logical
ARGS   ?=

BIN     := .venv/bin
INSTALL := $(BIN)/python -m pip --disable-pip-version-check --no-input -qq install
PYTEST  := $(BIN)/python -m pytest -p no:benchmark -n $(JOBS) --maxprocesses 8 --dist loadfile

LOCK    := uv pip compile --quiet pyproject.toml --group build --universal --python-version 3.11 --only-binary :all: --generate-hashes --no-header --no-annotate

GALLERY := results/gallery
PAGES   := nightly-batch two-generations surge wrong-forecast next-year

.PHONY: help demo bill sweep reproduce gallery $(PAGES:%=gallery-%) test check lint format docs schema bench cov lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: .venv/ready ## a first answer: three policies over one day, with a picture (demo.png)
	$(BIN)/caps-fast run measured --policies round-robin,carbon-aware,caps --days 1 --picture demo.png

sweep: .venv/ready ## the paper's main sweep, into results/paper
	$(BIN)/caps-fast sweep sweeps/paper.toml --out results/paper

reproduce: .venv/ready ## the paper's tables and figures beside ours, into results/reproduce
	$(BIN)/caps-fast reproduce --out results/reproduce

bill: .venv/ready ## what saves how much: tables of docs/bill.md, into results/bill (ARGS="--only headline")
	$(BIN)/python -m benchmarks.bill results/bill $(ARGS)

gallery: $(PAGES:%=gallery-%) ## the five questions of docs/gallery, into results/gallery; gallery-surge, ... for one

gallery-nightly-batch gallery-two-generations gallery-surge: gallery-%: .venv/ready
	$(BIN)/caps-fast sweep sweeps/gallery/$*.toml --out $(GALLERY)/$*
	$(BIN)/caps-fast pareto $(GALLERY)/$* $(FRONT_$*) --y slo_attainment --picture $(GALLERY)/$*.png

FRONT_nightly-batch   := --x bill_kg
FRONT_two-generations := --x sci_g_per_1k_tokens
FRONT_surge           := --x bill_kg --group day

gallery-wrong-forecast: .venv/ready
	mkdir -p $(GALLERY)
	$(BIN)/caps-fast forecast-value sweeps/gallery/wrong-forecast.toml --seeds 3 \
		--forecasts perfect,noise:2,noise:4,noise:8,yesterday,persistence --picture $(GALLERY)/wrong-forecast.png

gallery-next-year: .venv/ready
	mkdir -p $(GALLERY)
	$(BIN)/caps-fast size sweeps/gallery/next-year.toml --policies edf,caps --rates 4,5,6,7.2 --seeds 3 \
		--picture $(GALLERY)/next-year.png

test: .venv/ready-dev ## the tests; ARGS="tests/test_cli.py -k name" for some, ARGS="-m slow" for the slow ones
	$(PYTEST) -m "not slow" $(ARGS)

check: lint test ## lint and test

lint: .venv/ready-dev ## ruff, its formatter in check mode, mypy and codespell
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/codespell

format: .venv/ready-dev ## format the sources and apply ruff's fixes
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: .venv/ready-dev ## build the documentation site into site/html; warnings are errors
	$(BIN)/python -m sphinx -q -E -W --keep-going -d site/doctrees docs site/html

schema: .venv/ready ## generate the tables of metrics in docs/schema.md
	$(BIN)/python -m caps_fast.schema docs/schema.md

bench: .venv/ready-dev ## benchmarks, with other simulators for comparison
	$(BIN)/python -m benchmarks $(ARGS)

cov: .venv/ready-dev ## coverage of the quick tests; compiled code runs as Python so that its lines count
	NUMBA_DISABLE_JIT=1 $(PYTEST) -m "not slow" -W ignore::RuntimeWarning --cov --cov-report term --cov-report html $(ARGS)

lock: ## update the pins to the newest packages (the only target that needs uv)
	$(LOCK) --upgrade --all-extras -o constraints-dev.txt
	$(LOCK) --upgrade --constraints constraints-dev.txt -o constraints.txt

clean: ## remove the environment and the tools' caches, not results
	rm -rf .venv dist site htmlcov .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache .benchmarks
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

define environment
@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	{ echo "caps-fast needs Python 3.11 or newer, and $(PYTHON) is not: name one, as in  make PYTHON=python3.12 ..." >&2; exit 1; }
@echo "setting up .venv from $(1): a minute or two, once ..." >&2
@$(PYTHON) -m venv .venv
@$(INSTALL) --no-deps --require-hashes --only-binary :all: -r $(1)
@$(INSTALL) --no-deps --no-build-isolation --editable .
endef

.venv/ready: pyproject.toml constraints.txt
	$(call environment,constraints.txt)
	@touch $@

.venv/ready-dev: pyproject.toml constraints-dev.txt
	$(call environment,constraints-dev.txt)
	@touch .venv/ready $@
