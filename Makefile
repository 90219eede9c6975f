# `make` lists what there is. Plain make from 3.81 (macOS) on; everything runs in .venv, which install.sh makes.

BIN := .venv/bin
INSTALL := @PYTHON="$(PYTHON)" sh ./install.sh
# What was given to make itself: a DATA or PORT that happens to stand in the environment changes nothing.
given = $(if $(filter command,$(firstword $(origin $(1)))),$($(1)))

.DEFAULT_GOAL := help
.PHONY: help install demo test test-deploy coverage check format bench soak docs audit sbom secrets lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s  %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo
	@echo "  make demo takes DATA=folder of a dataset (else the built-in shop), PORT=number, HOME_DIR=folder,"
	@echo "  CHECK=1 (answer one request and stop); with CSV=orders.csv and, if there is one, ITEMS=items.csv it"
	@echo "  tries your own log and says whether MMGRec is worth it (MAP=\"user_id=COLUMN,item_id=COLUMN\" where the"
	@echo "  columns are not guessed). make test takes ARGS=\"what pytest takes\", make soak ARGS=\"--seconds 60\","
	@echo "  make secrets NAMESPACE, REDIS_ADDRESS and SECRETS_DIR."
	@echo "  They stand after make; of them, the environment gives CHECK alone."
	@echo "  PYTHON=path chooses the Python (3.11 to 3.13) at the first install."

install: ## make .venv and install everything into it; a second run does nothing
	$(INSTALL)

demo: ## train on a small shop and serve recommendations
	$(if $(call given,CSV),,$(if $(call given,ITEMS)$(call given,MAP),$(error ITEMS= and MAP= go with CSV=, the log that they belong to)))
	$(INSTALL)
	$(BIN)/python -m offline $(if $(call given,CSV),try "$(CSV)" $(if $(call given,ITEMS),--items "$(ITEMS)") $(if $(call given,MAP),--map "$(MAP)"),demo) $(if $(call given,DATA),--data "$(DATA)") $(if $(filter-out 0,$(CHECK)),--check) $(if $(call given,PORT),--port "$(PORT)") $(if $(call given,HOME_DIR),--home "$(HOME_DIR)")

test: ## run the tests
	$(INSTALL)
	$(BIN)/python -m pytest $(call given,ARGS)

coverage: ## run the tests, and count the lines of service and offline that they reach: 90 % at least
	$(INSTALL)
	$(BIN)/python -m pytest --cov --cov-report=term:skip-covered $(call given,ARGS)

test-deploy: ## run docker-compose.yml for real and see that it keeps what it promises; a quarter of an hour
	$(INSTALL)
	TEST_DEPLOY=1 $(BIN)/python -m pytest -x -s tests/deploy $(call given,ARGS)

check: ## formatting, lint, spelling, types, import contracts, sizes, what is made from the code
	$(INSTALL)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/codespell
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m docs.making --check
	$(BIN)/python -m pytest -q tests/test_architecture.py

format: ## let ruff format and repair what it can
	$(INSTALL)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: ## run every benchmark that needs no dataset, but the soak; each prints JSON
	$(INSTALL)
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[bench]'
	@for file in benchmarks/[a-z]*.py; do \
	    name=$${file#benchmarks/}; \
	    [ "$$name" != soak.py ] || continue; \
	    echo "== $$name"; \
	    $(BIN)/python -m "benchmarks.$${name%.py}" || exit 1; \
	done

soak: ## ten minutes of load, swaps, a killed Redis and callers who hang up; prints JSON
	$(INSTALL)
	$(BIN)/python -m benchmarks.soak $(call given,ARGS)

docs: ## build the documentation into site/, every warning an error
	$(INSTALL)
	$(BIN)/python -m docs.making --check
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[docs]'
	@# Not --quiet: that hides warnings from --strict.
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "The documentation is site/index.html."

# Programs that look at the packages live apart from them.
AUDIT := .venv/audit/bin
LOCKS := $(wildcard docker/requirements/*.txt)
AUDIT_TOOLS = @[ -x $(AUDIT)/cyclonedx-py ] || { $(BIN)/python -m venv .venv/audit && \
    $(AUDIT)/python -m pip install -q --disable-pip-version-check 'pip-audit>=2.8,<3' 'cyclonedx-bom>=7,<8'; }

audit: ## ask PyPI's advisories whether pinned packages, also those of the images, have known faults
	$(INSTALL)
	$(AUDIT_TOOLS)
	@bad=""; for lock in constraints.txt $(LOCKS); do \
	    echo "== $$lock"; \
	    $(AUDIT)/pip-audit --strict --no-deps --disable-pip --progress-spinner off -r $$lock || bad="$$bad $$lock"; \
	done; [ -z "$$bad" ] || { \
	    echo "make audit: a package has a known fault, or the advisories cannot be had, for$$bad: the lines above say which."; exit 1; }

sbom: ## list the packages of .venv (with licences) and of the images in dist/sbom-*.cdx.json (CycloneDX)
	$(INSTALL)
	$(AUDIT_TOOLS)
	@mkdir -p dist
	$(AUDIT)/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible -o dist/sbom-environment.cdx.json $(BIN)/python
	@for lock in $(LOCKS); do \
	    $(AUDIT)/cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible \
	        -o dist/sbom-$$(basename $$lock .txt).cdx.json $$lock || exit 1; \
	done
	@ls dist/sbom-*.cdx.json

secrets: ## make what docker-compose.yml needs: docker/secrets, each secret once, and .env
	@NAMESPACE="$(call given,NAMESPACE)" REDIS_ADDRESS="$(call given,REDIS_ADDRESS)" \
	    sh docker/make_secrets.sh "$(or $(call given,SECRETS_DIR),docker/secrets)"
	@[ -e .env ] || { cp .env.example .env && echo "made .env"; }

lock: ## make the locks of the images anew from pyproject.toml and constraints.txt
	$(INSTALL)
	@sh docker/requirements/lock.sh $(BIN)/python

clean: ## remove caches and build leftovers; .venv, runs and data stay
	rm -rf build dist site .coverage .coverage.* *.egg-info client/*.egg-info client/build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -path ./.venv -prune -o -path ./.git -prune -o -type d -name __pycache__ -exec rm -rf {} +
