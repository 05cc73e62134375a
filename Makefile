# Needs python3 (3.11 or newer) and make. The first target that runs sets up .venv, once for each pyproject.toml.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# As root, if that needs no password: nobody is asked in the middle of `make test`.
ROOT := $(if $(filter 0,$(shell id -u)),,sudo --non-interactive)
AXE := tests/browser/node_modules/axe-core/axe.min.js
# Arguments for pytest in `make test`: make test ARGS="-k sleep --jobs 1"
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help demo test crash-sweep load sabotage chaos fuzz check lint bench browser screenshots openapi messages clean

help: ## show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/'

demo: $(VENV)/.demo ## run the example project: cluster, web server and a live table, until Ctrl-C
	@$(BIN)/python -m example_project.demo

test: $(VENV)/.dev browser ## run the whole test suite on every database that answers
	@$(BIN)/python -m tests.run_matrix $(ARGS)

crash-sweep: $(VENV)/.dev ## die at every statement and commit of every shape of workflow, on every database (long)
	@SWEEP=all $(BIN)/python -m tests.run_matrix tests/simulation $(ARGS)

load: $(VENV)/.dev ## a million finished and 100,000 sleeping workflows, an idle cluster, 100,000 turns, on every database (long)
	@LOAD=all $(BIN)/python -m tests.run_matrix tests/load --jobs 1 $(ARGS)

sabotage: $(VENV)/.dev ## break every rule of the protocol in a copy, and see that a test notices: make sabotage ARGS=R8
	@$(BIN)/python -m tests.simulation.sabotage $(ARGS)

chaos: $(VENV)/.dev ## kill clusters, database and queue at random for minutes, and settle the ledger: make chaos ARGS="--broker redis"
	@$(BIN)/python -m tests.chaos $(ARGS)

fuzz: $(VENV)/.dev ## ask the REST API tens of thousands of questions that nobody should ask, on every database (long)
	@FUZZ=all $(BIN)/python -m tests.run_matrix tests/fuzz $(ARGS)

check: lint test ## everything CI runs: lint, types, import directions, migrations, system checks, tests

lint: $(VENV)/.dev ## all of check but the tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python manage.py makemigrations --check --dry-run
	$(BIN)/python manage.py makemigrations --check --dry-run --settings tests.settings
	$(BIN)/python manage.py check --fail-level WARNING

bench: $(VENV)/.dev ## run the benchmarks in small; make bench ARGS=--full: all that docs/performance.md shows, beside other systems
	@$(BIN)/python -m benchmarks $(ARGS)

browser: ## install what the tests in a browser need, where apt and npm can: Chromium, its driver, axe-core
	@{ command -v chromium && command -v chromedriver; } >/dev/null || ! command -v apt-get >/dev/null || { \
		echo "Installing Chromium and its driver …"; \
		$(ROOT) apt-get update -qq && $(ROOT) apt-get install -qq --yes chromium chromium-driver >/dev/null; } \
		|| echo "apt-get could not install them."
	@test -f $(AXE) || ! command -v npm >/dev/null || { \
		echo "Installing axe-core …"; \
		npm install --prefix tests/browser --no-package-lock --no-audit --no-fund --silent; } \
		|| echo "npm could not install it."

screenshots: $(VENV)/.dev browser ## take the pictures in docs/images/ anew
	@$(BIN)/python -m pytest --quiet --no-header tests/browser/screenshots.py

openapi: $(VENV)/.dev ## describe the REST API anew: docs/openapi.yaml
	@$(BIN)/python manage.py spectacular --validate --fail-on-warn --file docs/openapi.yaml

messages: $(VENV)/.dev ## gather the texts that are marked for translation, and compile what is translated; needs gettext
	cd django_workflow && ../$(BIN)/python ../manage.py makemessages --all --no-location --no-obsolete
	@for each in django_workflow/locale/*/LC_MESSAGES/django.po; do \
		sed '/^"POT-Creation-Date:/d' $$each >$$each.new && mv $$each.new $$each; done
	cd django_workflow && ../$(BIN)/python ../manage.py compilemessages

clean: ## remove the environments and everything the tools left behind
	rm -rf .venv .venv-3.13 benchmarks/peers/.environments .demo .test-logs build dist htmlcov .coverage* .hypothesis .import_linter_cache \
		.mypy_cache .pytest_cache .ruff_cache tests/browser/node_modules
	find . -name .git -prune -o -type d -name __pycache__ -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, \
	$(PYTHON) is %s. Name another one: make PYTHON=python3.12 …" % sys.version.split()[0])'
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

$(VENV)/.demo: pyproject.toml | $(BIN)/python
	@echo "Installing the package and the example's libraries into $(VENV) …"
	@$(PIP) --editable '.[example]'
	@touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/python
	@echo "Installing the package and the tools for tests and lint into $(VENV) …"
	@$(PIP) --editable '.[dev,example,postgres,mysql,redis]'
	@touch $@ $(VENV)/.demo
