# Two commands matter: `make demo` and `make test`. Everything is installed into .venv.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: help setup demo test check proof fuzz bench lock

help:
	@echo "make demo   set up, start sandbox and gateway on loopback, run the showcase, stay up (ONCE=1: end)"
	@echo "make test   set up and run every test, real servers and a real browser included"
	@echo "make check  lint, types, import contracts"
	@echo "make proof  compare every cell of the policy with two other readings of it (minutes)"
	@echo "make fuzz   compare new operations by both forms of execution (SECONDS=600; FUZZ_SEED=… begins at a seed)"
	@echo "make bench  measure the gateway and its peers on the same work (half an hour)"
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

# The browser tests drive Debian's Chromium.
test: setup
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium; }
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

# Every cell of the example bundle, in every state of authorization, by the table, a slow reading and Cedar.
proof: setup
	PROOF=all $(BIN)/python -m pytest tests/test_policy_proof.py --timeout 3000

# New operations by both forms; FUZZ_SEED=… begins at a seed that failed.
fuzz: setup
	FUZZ_SECONDS=$(or $(SECONDS),600) $(BIN)/python -m pytest tests/test_compiler_generated.py -k fuzz -s --timeout 0

bench: setup
	$(BIN)/python -m tests.bench scenarios --readme

lock: setup
	$(PIP) install uv
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --upgrade \
	  --generate-hashes --no-emit-index-url --no-header --no-annotate --quiet -o requirements.lock
