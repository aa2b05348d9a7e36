# The verbs, the same for people and for CI. Each does the set-up it needs; the second time that takes no time.
SHELL := /bin/bash
VENV := .venv
PYTHON := $(VENV)/bin/python
STAMP := $(VENV)/.stamp
ZIPAPP := build/interlock.pyz
N ?= 200

.PHONY: setup demo test check lab bench soak clean

setup: $(STAMP) $(ZIPAPP) system-packages

.PHONY: system-packages
system-packages:
	@tools/system_packages.sh

$(STAMP): requirements.txt pyproject.toml
	@python3 -m venv $(VENV)
	@$(VENV)/bin/pip install --quiet --disable-pip-version-check -r requirements.txt
	@$(VENV)/bin/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(ZIPAPP): $(shell find src/interlock -name '*.py' -o -name '*.json' -o -path '*/boot/data/*' -type f) tools/build_zipapp.py | $(STAMP)
	@$(PYTHON) tools/build_zipapp.py $@
	@$(PYTHON) -m compileall -q src/interlock

lab: setup
	@$(VENV)/bin/interlock lab build

demo: setup
	@$(VENV)/bin/interlock lab demo

test: setup
ifdef PYTEST
	@$(VENV)/bin/pytest $(PYTEST)
else
	@$(VENV)/bin/pytest --numprocesses 2 --dist loadfile tests/unit tests/host tests/vm
	@$(VENV)/bin/pytest tests/lab
endif

check: $(STAMP)
	@$(VENV)/bin/ruff check src tests bench tools
	@$(VENV)/bin/ruff format --check src tests bench tools
	@$(VENV)/bin/mypy
	@$(VENV)/bin/pytest --quiet tests/unit/test_layers.py

bench: setup
	@$(PYTHON) bench/upgrade.py
	@$(PYTHON) bench/rollbacks.py
	@$(PYTHON) bench/looks.py

soak: setup
	@$(PYTHON) bench/soak.py --rounds $(N)
	@$(PYTHON) bench/kills.py --kills $(N)
	@INTERLOCK_POINTS=all $(VENV)/bin/pytest tests/host/test_recovery.py tests/host/test_half.py
	@INTERLOCK_SETS=40 $(VENV)/bin/pytest tests/host/test_quiesce.py
	@INTERLOCK_GENERATED=200 $(VENV)/bin/pytest tests/host/test_dnf_agrees.py
	@$(PYTHON) bench/power_cuts.py --cuts 10

clean:
	@$(VENV)/bin/interlock lab down --all || true
	@rm -rf build $(VENV)
