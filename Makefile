# make repro: everything from parameters to tables.   make test: the tests.   All set the machine up first.
PYTHON ?= python3
UV := .tools/bin/uv
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: repro test torture ui archive lint lock clean

repro: $(BIN)/.ready
	@$(BIN)/advgrad repro

test: $(BIN)/.ready
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

# real faults, in a copy of the project: kills, full disks, damaged files
torture: $(BIN)/.ready
	@PYTHONPATH=. $(BIN)/python -m benchmarks.torture

# every stage's run in MLflow; its first page is about language models, this address opens on the runs
ui: $(BIN)/.ready
	@echo "http://127.0.0.1:5000/#/experiments/1/runs?workflowType=machine_learning&viewStateShareKey=stages"
	@$(BIN)/mlflow ui --host 127.0.0.1 --backend-store-uri sqlite:///mlflow.db

# the last commit and its results as one file, in dist
archive: $(BIN)/.ready
	@$(BIN)/advgrad archive create

lint: $(BIN)/.ready
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/pyright

$(BIN)/.ready: requirements.lock pyproject.toml | $(UV)
	@$(UV) venv --quiet --allow-existing --no-python-downloads --python $(PYTHON) .venv
	@$(UV) pip sync --quiet --compile-bytecode --python $(BIN)/python --require-hashes requirements.lock
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

$(UV): requirements-uv.lock
	@$(PYTHON) -c 'import ensurepip, sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null || \
	  { echo "needs Python 3.11, 3.12 or 3.13 with its venv module (Debian: apt install python3-venv)" >&2; exit 2; }
	@$(PYTHON) -m venv .tools && .tools/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-uv.lock
	@touch $@

# after a change of the dependencies in pyproject.toml
lock: | $(UV)
	@$(UV) pip compile --quiet --universal --fork-strategy fewest --python-version 3.11 --generate-hashes --no-header \
	  --no-emit-index-url --group dev --output-file requirements.lock pyproject.toml

clean:
	rm -rf .venv .tools
