# One environment in .venv, made once and brought up to date when a requirements file changes.
# Run `make help` for the list.
PYTHON      ?= python3
HOST        ?= 127.0.0.1
PORT        ?= 7860
ARGS        ?=
# TORCH=cpu takes the small CPU build (200 MB instead of gigabytes of CUDA); TORCH=default takes what pip would.
TORCH       ?= cpu
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu

TORCH_VERSION := 2.13.0
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check
# Without it an OpenMP thread that waits spins, and a second busy process makes every forward pass ten times slower.
export GOMP_SPINCOUNT ?= 0
export GRADIO_ANALYTICS_ENABLED ?= False

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev demo test lint format types bench train-tiny weights chaos data clean synth browser

help:  ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  Variables: PORT=$(PORT) HOST=$(HOST) PYTHON=$(PYTHON) TORCH=cpu|default TORCH_INDEX=URL ARGS='more arguments'"

demo: setup synth  ## start the page on http://127.0.0.1:7860 (PORT=..., HOST=...)
	$(BIN)/python app.py --host "$(HOST)" --port "$(PORT)" $(ARGS)

test: setup-dev synth browser  ## set up and run every test
	$(BIN)/python -m pytest -q -n auto --dist loadfile $(ARGS)

lint: setup-dev  ## style and common mistakes (ruff)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: setup-dev  ## mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: setup-dev  ## check the types (ty)
	$(BIN)/ty check

bench: setup  ## seconds and memory of one clip and of four, beside the original's network
	$(BIN)/python -m train.bench $(ARGS)

train-tiny: setup  ## train a tiny model on the sample data in two processes, under two minutes on a CPU
	rm -rf runs/tiny
	$(BIN)/python -m musediff data build --corpus pop909 --source tests/assets/sample --out build/sample.npz --force
	$(BIN)/python -m train slots-tiny --distributed --nproc-per-node 2 --data build/sample.npz --out runs/tiny $(ARGS)

RUN     = runs/slots
MINUTES = 126
MORE    = 95
LAST    = 58
TWO     = $(BIN)/python -m train slots-small --distributed --nproc-per-node 2 --device cpu --tokens 2500 --data build/clips.npz
# Dropout comes late, when the first run begins to learn its songs by heart.
LATER   = --dropout 0.1 --lr 8e-4 --muon-rate 0.012
weights: setup build/clips.npz  ## train the bundled slots weights from the start: on two cores (RUN=folder, MINUTES=126, MORE=95, LAST=58)
	$(TWO) --minutes $(MINUTES) --out $(RUN)/first
	$(TWO) --minutes $(MORE) --init $(RUN)/first/weights $(LATER) --out $(RUN)/second
	$(TWO) --minutes $(LAST) --init $(RUN)/second/weights $(LATER) --seed 2 --out $(RUN)/third
	$(BIN)/torchrun --standalone --nproc-per-node 2 -m train.critic $(RUN)/third/weights --data build/clips.npz --out $(RUN)/critic
	$(BIN)/python -m train.bundle $(RUN)/critic --data build/clips.npz --out $(RUN)/bundled

chaos: setup  ## kill a training run 20 times at random moments: it has to end as if nothing had happened (ARGS='--times 3')
	$(BIN)/python -m tests.chaos $(ARGS)

CORPORA ?= ../shared/data
BUILD   = $(BIN)/python -m musediff data build --all "$(CORPORA)" --out build/clips.npz
data: setup  ## pack every corpus archive under CORPORA=folder into build/clips.npz
	mkdir -p build
	$(BUILD) $(ARGS)

build/clips.npz: | setup
	mkdir -p build
	$(BUILD)

clean:  ## remove .venv and what the tools leave behind
	rm -rf $(VENV) build runs outputs .pytest_cache .ruff_cache .mypy_cache .hypothesis musediff.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

setup: $(VENV)/.installed
setup-dev: $(VENV)/.installed-dev

# apt as root, or through sudo if that asks for no password; fails quietly elsewhere.
APT := apt_install() { \
	command -v apt-get >/dev/null || return 1; \
	if [ "$$(id -u)" = 0 ]; then sudo=; elif sudo -n true 2>/dev/null; then sudo="sudo -n"; else return 1; fi; \
	export DEBIAN_FRONTEND=noninteractive; \
	echo "Installing $$* with apt-get"; \
	$$sudo apt-get install -y -qq --no-install-recommends "$$@" >/dev/null 2>&1 || \
	{ $$sudo apt-get update -qq >/dev/null 2>&1; $$sudo apt-get install -y -qq --no-install-recommends "$$@" >/dev/null; }; }

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { echo "Python is missing. Run: sudo apt-get install python3 python3-venv"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "$$($(PYTHON) --version) is too old, 3.10 or newer is needed. Try: make demo PYTHON=python3.12"; exit 1; }
	@$(APT); $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || apt_install python3-venv || \
		{ echo "Python's venv module is missing. Run: sudo apt-get install python3-venv"; exit 1; }
	@echo "Making $(VENV); the set-up takes some minutes, once"
	@$(PYTHON) -m venv $(VENV)

# The CPU build is on an index of its own; a machine that has it at hand anyway is not sent there.
$(VENV)/.torch: | $(BIN)/python
ifeq ($(TORCH),cpu)
	@echo "Installing torch $(TORCH_VERSION) for the CPU"
	@case "$$(uname -s)" in \
	Linux) $(PIP) install -qq "torch==$(TORCH_VERSION)+cpu" 2>/dev/null \
		|| $(PIP) install -qq --timeout 20 --retries 1 --extra-index-url "$(TORCH_INDEX)" "torch==$(TORCH_VERSION)+cpu" 2>/dev/null \
		|| $(PIP) install "torch==$(TORCH_VERSION)" ;; \
	*) $(PIP) install -qq "torch==$(TORCH_VERSION)" || true ;; \
	esac
endif
	@touch $@

$(VENV)/.installed: requirements.txt pyproject.toml $(VENV)/.torch
	@echo "Installing the rest of requirements.txt"
	@$(PIP) install -qq -r requirements.txt
	@$(PIP) install -qq --no-deps -e .
	@touch $@

$(VENV)/.installed-dev: requirements-dev.txt $(VENV)/.installed
	@echo "Installing what the checks need"
	@$(PIP) install -qq -r requirements-dev.txt
	@touch $@

# Not a stamp: whoever could not install it the first time may have done so since.
synth: | $(BIN)/python
	@$(APT); $(BIN)/python -c 'import ctypes.util as u, sys; sys.exit(u.find_library("fluidsynth") is None)' \
		|| apt_install fluidsynth fluidr3mono-gm-soundfont \
		|| echo "FluidSynth is not installed: a simpler synthesizer plays. For the real one run: $(SYNTH_LINE)"
SYNTH_LINE := $(if $(filter Darwin,$(shell uname -s)),brew install fluid-synth,sudo apt-get install fluidsynth fluidr3mono-gm-soundfont)

browser: | $(BIN)/python
	@$(APT); command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null \
		|| apt_install chromium \
		|| echo "No Chromium: the browser tests are skipped. To run them: sudo apt-get install chromium"
