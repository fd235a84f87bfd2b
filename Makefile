# The only set-up anyone needs: Python 3.11 or newer, and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := bridge consumers tests

.PHONY: run test check format requirements clean

run: $(VENV)/installed-run
	@$(BIN)/bridge up

test: $(VENV)/installed-dev
	@$(BIN)/python -m pytest $(PYTEST_ARGS)

check: $(VENV)/installed-dev
	@$(BIN)/ruff format --check $(SOURCES)
	@$(BIN)/ruff check $(SOURCES)
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(VENV)/installed-dev
	@$(BIN)/ruff format $(SOURCES)
	@$(BIN)/ruff check --fix $(SOURCES)

# The pinned sets, with hashes: requirements.txt for the image, requirements-dev.txt for CI,
# requirements-build.txt for building the wheel.
requirements: $(VENV)/installed-dev
	@$(BIN)/pip-compile --quiet --generate-hashes --strip-extras --no-emit-index-url --no-emit-find-links \
	    --extra postgres --output-file requirements.txt pyproject.toml
	@$(BIN)/pip-compile --quiet --generate-hashes --strip-extras --no-emit-index-url --no-emit-find-links \
	    --allow-unsafe --extra postgres --extra dev --output-file requirements-dev.txt pyproject.toml
	@$(BIN)/pip-compile --quiet --generate-hashes --strip-extras --no-emit-index-url --no-emit-find-links \
	    --allow-unsafe --build-deps-for wheel --only-build-deps --output-file requirements-build.txt pyproject.toml

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed; set PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	@$(PYTHON) -m venv $(VENV)

$(VENV)/installed-run: pyproject.toml | $(BIN)/python
	@echo "Installing into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[postgres]'
	@touch $@

$(VENV)/installed-dev: pyproject.toml requirements-dev.txt | $(BIN)/python
	@echo "Installing the pinned set into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements-dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@ $(VENV)/installed-run

clean:
	@rm -rf $(VENV) dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
