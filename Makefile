# Two commands matter: `make demo` and `make test`. Everything lives in .venv.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help setup demo test check lock

help:
	@echo "make demo   set up, start sandbox and gateway on loopback, run the showcase, stay up"
	@echo "make test   set up and run every test, real servers and a real browser included"
	@echo "make check  lint, types, import contracts"
	@echo "make lock   resolve requirements.lock anew from pyproject.toml"
