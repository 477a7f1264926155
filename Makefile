# The only place where commands are spelled: people, hooks and CI call these targets.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --constraint constraints.txt
export OMP_NUM_THREADS := 1
export OPENBLAS_NUM_THREADS := 1
export MKL_NUM_THREADS := 1

.PHONY: demo test lint types unit bench examples clean

demo: $(VENV)/installed-demo
	$(BIN)/python examples/portfolio.py

test: lint types unit

lint: $(VENV)/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/installed-test
	$(BIN)/mypy

unit: $(VENV)/installed-test
	$(BIN)/python -m pytest -n auto --dist worksteal

bench: $(VENV)/installed-test
	$(BIN)/python -m benchmarks
	$(BIN)/python -m benchmarks.implicit

examples: $(VENV)/installed-test
	for example in examples/*.py; do $(BIN)/python $$example || exit 1; done
	$(BIN)/torchrun --standalone --nproc_per_node 2 examples/distributed_torch.py

clean:
	rm -rf $(VENV)

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed-demo: $(BIN)/python pyproject.toml constraints.txt
	$(PIP) --editable ".[torch,examples]"
	touch $@

$(VENV)/installed-test: $(BIN)/python pyproject.toml constraints.txt
	$(PIP) --editable ".[torch,jax,examples,test]"
	touch $@
