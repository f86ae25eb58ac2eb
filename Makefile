# Two commands matter: `make demo` and `make test`. Everything is installed into .venv.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

PRODUCT := $(shell find gateway resolvers connectors policies -type f -not -path '*/__pycache__/*' -not -path '*/assets/*')

.PHONY: help setup demo test check proof fuzz bench wheel lock

help:
	@echo "make demo   set up, start sandbox and gateway on loopback, run the showcase, stay up (ONCE=1: end)"
	@echo "make test   set up and run every test, real servers and a real browser included"
	@echo "make check  lint, types, import contracts"
	@echo "make proof  compare every cell of the policy with two other readings of it (minutes)"
	@echo "make fuzz   compare new operations by both forms of execution (SECONDS=600; FUZZ_SEED=… begins at a seed)"
	@echo "make bench  measure the gateway and its peers on the same work (half an hour)"
	@echo "make wheel  build dist/*.whl for an operator, its hot path compiled to machine code"
	@echo "make lock   resolve requirements.lock anew from pyproject.toml"

setup: .venv/ready

# Debian splits venv from python3: where it is missing and we may, it is installed.
.venv/ready: requirements.lock pyproject.toml gateway/explorer/package-lock.json
	@$(PYTHON) -c "import ensurepip, venv" 2>/dev/null || { apt-get update -qq && apt-get install -y -qq python3-venv; }
	$(PYTHON) -m venv .venv
	$(PIP) install --require-hashes -r requirements.lock
	$(PIP) install --no-deps --no-build-isolation --editable .
	$(BIN)/python -m gateway.explorer.assets
	@touch $@

demo: setup
	$(BIN)/credit-gateway demo $(if $(ONCE),--once)

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# What runs on the compiled hot path, too: all that passes through it, without what is about files, commands and browsers.
COMPILED_TESTS := $(patsubst %,tests/test_%.py,answers_that_stand artefacts attacks authenticate bad_input batching \
  bounds budgets compiled compiler compiler_generated compiler_variables decision decisions differential failing_obligation fast_path \
  faults fetch gateway identity_http kept ledger mapping metrics no_identifiers obligations operation precedence promises \
  protocol quota registers registrations repeats replay resilience second_bundle serve shaper shared_calls \
  sources_end_to_end standing statistics transport)

# The browser tests drive Debian's Chromium.
test: wheel
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium; }
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile
	COMPILED=1 PYTHONPATH=$(CURDIR)/.compiled/site $(BIN)/python -P -m pytest --numprocesses 2 --dist loadfile $(COMPILED_TESTS)

# Every cell of the example bundle, in every state of authorization, by the table, a slow reading and Cedar.
proof: setup
	PROOF=all $(BIN)/python -m pytest tests/test_policy_proof.py --timeout 3000

# New operations by both forms; FUZZ_SEED=… begins at a seed that failed.
fuzz: setup
	FUZZ_SECONDS=$(or $(SECONDS),600) $(BIN)/python -m pytest tests/test_compiler_generated.py -k fuzz -s --timeout 0

bench: wheel
	$(BIN)/python -m tests.bench scenarios --readme

# The wheel, and the same installed beside the source, for the tests and the bench. Debian has compiler and headers.
wheel: .compiled/ready

.compiled/ready: .venv/ready hatch_build.py $(PRODUCT)
	@{ command -v gcc && $(BIN)/python -c "import pathlib, sysconfig; pathlib.Path(sysconfig.get_path('include'), 'Python.h').stat()"; } >/dev/null 2>&1 \
	  || { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends gcc libc6-dev python3-dev; }
	rm -rf .compiled
	CREDIT_GATEWAY_COMPILED=1 $(PIP) wheel --no-deps --no-build-isolation --wheel-dir .compiled/dist .
	$(PIP) install --no-deps --target .compiled/site .compiled/dist/*.whl
	mkdir -p dist && cp .compiled/dist/*.whl dist/
	@touch $@

lock: setup
	$(PIP) install uv
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --upgrade \
	  --generate-hashes --no-emit-index-url --no-header --no-annotate --quiet -o requirements.lock
