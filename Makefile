# Every target sets up what it needs. `make setup` is idempotent: it does nothing where nothing changed.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
ARGS   ?=

.PHONY: setup demo test test-real check bench accuracy reference lock clean

setup: $(VENV)/.installed
	@sh tests/lab/link_ceph_bindings.sh $(VENV)

$(VENV)/.installed: requirements/runtime.txt requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "unstick needs Python 3.11 or newer: set PYTHON=/path/to/python3" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/runtime.txt -r requirements/dev.txt
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: setup
	@$(BIN)/unstick demo $(ARGS)

test: setup
	@$(BIN)/pytest -m "not real" -n auto --dist loadfile $(ARGS)

# Root on Debian: brings up a real Kubernetes control plane and a real Ceph, unless KUBECONFIG and CEPH_CONF name some.
test-real:
	@sh tests/lab/install.sh
	@$(MAKE) --no-print-directory setup
	@sh tests/lab/helm.sh $(BIN)/python
	@$(BIN)/pytest -m real $(ARGS)

check: setup
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: setup
	@$(BIN)/pytest tests/benchmarks -q -s --override-ini python_files='bench_*.py' --override-ini python_functions='bench_*' $(ARGS)

accuracy: setup
	@$(BIN)/python -m tests.accuracy $(ARGS)

reference: setup
	@$(BIN)/python -m tests.reference $(ARGS)
	@$(BIN)/python -m tests.chart_rules

# Writes the pinned requirements anew from pyproject.toml. Needs uv on the PATH.
lock:
	@uv pip compile --quiet pyproject.toml --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header -o requirements/runtime.txt
	@uv pip compile --quiet pyproject.toml --group dev --constraint requirements/runtime.txt --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header -o requirements/dev.txt

clean:
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache
