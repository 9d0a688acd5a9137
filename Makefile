PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
OUT ?= out/quickstart

.PHONY: quickstart test faults lint format bench soak lock clean

# Dependencies are installed from the hashed lock, then the project itself; bytecode is compiled once.
$(VENV)/.installed: requirements.lock requirements-dev.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv>=0.8"
	$(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode --require-hashes -r requirements-dev.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	touch $@

quickstart: $(VENV)/.installed
	$(BIN)/sluice run quickstart --output $(OUT)
	$(BIN)/sluice verify $(OUT)

test: $(VENV)/.installed
	$(BIN)/python -m pytest -m "not soak and not faults" -n 2

# Kills real processes and fills real disks: minutes, and root for the mounts.
faults: $(VENV)/.installed
	$(BIN)/python -m pytest -m "faults and not soak" --timeout 600

soak: $(VENV)/.installed
	$(BIN)/python -m pytest -m soak --timeout 3600

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.installed
	$(BIN)/python benchmarks/speed.py

lock:
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-emit-index-url --generate-hashes --no-header pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-emit-index-url --generate-hashes --no-header pyproject.toml --group dev --extra http --extra s3 --extra hf -c requirements.lock -o requirements-dev.lock

clean:
	rm -rf $(VENV) out .bench
