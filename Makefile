# SPDX-License-Identifier: Apache-2.0
# See `make help`.
.DEFAULT_GOAL := help
.PHONY: help setup demo test vm check format protos bench clean

PYTHON ?= python3
VENV := .venv/bin
export PYTHON

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

setup: ## install what is missing: Debian packages, virtual environment
	@PYTHON=$(PYTHON) scripts/setup

demo: setup ## the main job, from source to a clean target (as root)
	@$(VENV)/python -m tests.demo

test: setup check-static ## format, lint, types; tests: unit, kernel (as root), three boards
	@BPFD_TEST_EXCLUSIVE=1 $(VENV)/python -m pytest --reruns 1 -rR tests/unit tests/kernel
	@$(VENV)/python -m tests.vm --pushed

vm: setup ## the tests on all virtual boards, into build/vm-matrix.json
	@scripts/setup boards
	@$(VENV)/python -m tests.vm --quick --android arm64-6.12

check: venv check-static ## format, lint, types, stubs, unit tests; no root, under a minute
	@$(VENV)/python -m pytest -q tests/unit

.PHONY: venv check-static
venv:
	@PYTHON=$(PYTHON) scripts/setup-venv

check-static:
	@$(VENV)/ruff format --check -q . || { echo "run make format"; exit 1; }
	@$(VENV)/ruff check -q .
	@$(VENV)/clang-format --dry-run --Werror $$(find bpf -name '*.[ch]')
	@$(VENV)/mypy
	@PYTHON=$(VENV)/python scripts/generate-stubs --check

format: venv ## write the format that check wants
	@$(VENV)/ruff format -q .
	@$(VENV)/ruff check -q --fix .
	@$(VENV)/clang-format -i $$(find bpf -name '*.[ch]')

protos: venv ## write bpfd/v1 anew from protos/
	@PYTHON=$(VENV)/python scripts/generate-stubs

bench: setup ## measure, beside peers, into build/bench/core.json (as root)
	@scripts/setup bench
	@$(VENV)/python -m tests.bench

clean: ## remove what was built; the virtual environment stays
	rm -rf build .mypy_cache .ruff_cache .pytest_cache .hypothesis
