# Everything runs in .venv, which is made on first use. PYTHON=python3.12 chooses another Python,
# PIP_ARGS hands options to pip, TORCH=cpu or TORCH=usual chooses the build of torch, RANKS sets the
# processes of the demo, WORKERS those of the tests (0: all tests in one process).

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed
DOCS_INSTALLED := $(VENV)/docs-installed

# Without an NVIDIA driver, TORCH=auto takes the CPU build of torch from PyTorch's own index, which is a
# tenth of the usual build. It is a try: if the index does not answer, the usual build follows. Whoever
# gives pip options has chosen already.
TORCH ?= auto
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
NVIDIA ?= $(shell command -v nvidia-smi || ls /proc/driver/nvidia/version /usr/lib/wsl/lib/nvidia-smi \
	2>/dev/null)
WANTS_CPU_TORCH := $(filter cpu,$(TORCH))$(if $(strip $(NVIDIA)$(PIP_ARGS)),,$(filter auto,$(TORCH)))

# Compiled files make the start of a process faster, and the tests start many.
export PYTHONDONTWRITEBYTECODE :=

WORKERS ?= auto
PYTEST := PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest -n $(WORKERS) --maxprocesses 8 \
	--dist loadfile --no-loadscope-reorder

.PHONY: help install demo quick test torture compat check format docs clean

help:
	@echo "make demo     prepare, pretrain, stop, resume and generate, in a few minutes"
	@echo "make quick    run the fast tests, which start no processes: under 2 minutes on two cores"
	@echo "make test     run the whole test suite"
	@echo "make torture  run tiny trainings with N random faults (N=300 SEED=1 SEEDS=1), compare their ends"
	@echo "make compat   compare small checkpoints in old transformers and lm-eval with this project"
	@echo "make check    formatting, lint, types and import layers"
	@echo "make format   let ruff correct what it can"
	@echo "make docs     build the pages of docs/ into site/en and site/zh"
	@echo "make install  only make .venv"
	@echo "make clean    delete what make demo and make docs wrote"

install: $(INSTALLED)

$(INSTALLED): setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install $(PIP_ARGS) --quiet --upgrade pip
ifneq ($(WANTS_CPU_TORCH),)
	@echo "torch: its CPU build (TORCH=usual for the other one)"
	@$(BIN)/python -m pip install $(PIP_ARGS) --quiet --no-deps --retries 0 --timeout 15 \
		--constraint constraints.txt --index-url $(TORCH_INDEX) torch || \
		echo "torch: $(TORCH_INDEX) does not answer; the usual build follows, which is larger"
endif
	$(BIN)/python -m pip install $(PIP_ARGS) --constraint constraints.txt --editable '.[clean,dev]'
	touch $(INSTALLED)

demo: $(INSTALLED)
	PATH="$(CURDIR)/$(BIN):$$PATH" bash demo/run.sh

quick: $(INSTALLED)
	$(PYTEST) -m "not (ranks or slow or gpu or slurm)" $(PYTEST_ARGS)

test: $(INSTALLED)
	$(PYTEST) $(PYTEST_ARGS)

torture: $(INSTALLED)
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m tests.faults \
		--faults $(or $(N),300) --seed $(or $(SEED),1) --seeds $(or $(SEEDS),1) $(TORTURE_ARGS)

compat: $(INSTALLED)
	$(BIN)/python -m tests.compat $(COMPAT_ARGS)

check: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/lint-imports --config setup.cfg

format: $(INSTALLED)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(DOCS_INSTALLED)
	$(BIN)/mkdocs build --strict --config-file docs/mkdocs.en.yml
	$(BIN)/mkdocs build --strict --config-file docs/mkdocs.zh.yml

$(DOCS_INSTALLED): $(INSTALLED)
	$(BIN)/python -m pip install $(PIP_ARGS) --constraint constraints.txt --editable '.[docs]'
	touch $(DOCS_INSTALLED)

clean:
	rm -rf demo/out site
