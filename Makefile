# SPDX-License-Identifier: GPL-2.0-only
# Every target does its own set-up; all that is kept lies in $(CACHE).

CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/pynooks
VENV := $(CACHE)/venv
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest
# Guests side by side; those that share one stay together (tests/vm/conftest.py).
GUESTS := 2

.PHONY: help demo test test-unit test-vm test-slow test-tlb kmod image lint clean setup

help:
	@echo "make demo      run the stock e1000 in a nook, break it, see the kernel live"
	@echo "make test      unit tests, then tests in a guest"
	@echo "make test-slow 100 restarts, 20 seeds per fault, native faults, havoc, sleep; two hours"
	@echo "make test-tlb  the tests that need Bochs (TLB)"
	@echo "make kmod      nooks.ko for the guest's kernel"
	@echo "make image     the guest images"
	@echo "make lint      ruff, mypy"
	@echo "make clean     remove what was built; CACHE_TOO=1: the cache too"

setup:
	@tools/setup.sh apt
	@tools/setup.sh venv $(VENV)

demo: setup
	@$(BIN)/pynooks demo

test: test-unit test-vm

test-unit: setup
	$(PYTEST) -q -n $(GUESTS) tests/unit

# Image and module first, where their progress is seen.
test-vm: test-unit image kmod
	$(PYTEST) -v --durations=10 -n $(GUESTS) tests/vm -m "not tlb and not slow"

test-slow: setup
	$(PYTEST) -v --durations=20 tests/vm -m "slow and not tlb"

test-tlb: setup
	@tools/setup.sh apt tlb
	$(PYTEST) -v tests/vm -m tlb

kmod: setup
	@$(BIN)/pynooks build

image: setup
	@$(BIN)/pynooks vm build

lint: setup
	$(BIN)/ruff check pynooks tests
	$(BIN)/mypy

clean:
	rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
	find . -name __pycache__ -prune -exec rm -rf {} +
	$(if $(CACHE_TOO),rm -rf $(CACHE))
