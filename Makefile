# Two commands do everything: `make replicate-ddpm` and `make test`. Each does its own set-up.
#   make replicate-ddpm                the main job, on the embedded dataset, on the CPU; likewise replicate-ldm,
#                                      replicate-dit, replicate-samplers, replicate-guidance and replicate-scaling
#   make replicate-ldm PROFILE=evening photographs, on two CPU cores, in hours; it trains what samplers and guidance sample from
#   make replicate-ddpm PROFILE=gpu    CIFAR-10 on one GPU (profile `paper` likewise)
#   make gpu BUDGET=540                what is worth most on one GPU, within so many seconds; again, to go on from there
#   make gpu SET=scale=0.001           all of that with a thousandth of the trainings and images, on any machine, before
#   make replicate-ddpm SET="protocol.n=500 batch_size=100"    change keys of the profile

PYTHON ?= $(shell for p in python3.12 python3.11 python3; do \
	  $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
PROFILE ?= cpu
BUDGET ?= 1800
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
REPLICATIONS := $(addprefix replicate-,ddpm ldm dit samplers guidance scaling)
.PHONY: help setup test lint docs mutants $(REPLICATIONS) gpu forensics tables verify claims bench ui lock

help:
	@sed -n '/^$$/q; s/^# \{0,1\}//p' Makefile
	@echo "targets: setup test lint docs mutants $(REPLICATIONS) gpu forensics tables verify claims bench ui lock"

setup: $(READY)

# The stamp is written last, so an interrupted installation starts again. torch and torchvision come as the matching
# pair that the lock names, in one pip call.
$(READY): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed; set PYTHON=/path/to/python3" >&2; exit 2; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV) \
	  || { echo "python3 -m venv failed: on Debian and Ubuntu, apt install python3-venv" >&2; exit 2; }
	@echo "installing the pinned packages into $(VENV) (several GB with torch; a few minutes, once)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $(READY)

docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

# As many processes as processors, up to eight, of one to three GB; worksteal keeps the tests of a module, and so its fixtures,
# together.
test: $(READY)
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 --dist worksteal

# Breaks the samplers and what is around them in 70 ways, one at a time, and expects the tests to notice each.
mutants: $(READY)
	$(BIN)/python tests/mutants.py

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The main job trains, though weights of its network ship.
replicate-ddpm: export REPLICATION_SHIPPED = none
$(REPLICATIONS): replicate-%: $(READY)
	$(BIN)/replicate run $* --profile $(PROFILE) $(foreach pair,$(SET),--set $(pair))
ifeq ($(SET),)
	$(BIN)/replicate report $*
else
	@echo "results/ is left as it is: SET changes the experiment, and its rows are in the table above and in MLflow"
endif

# In the order of their worth. `replicate export FILE` then takes the rows home, where `replicate import FILE` has them.
gpu: $(READY)
	$(BIN)/replicate run ddpm ldm dit samplers scaling --profile gpu --budget $(BUDGET) $(foreach pair,$(SET),--set $(pair))

# Changes one choice of the protocol at a time, on the checkpoint of replicate-ddpm (trained if it is not there).
forensics: $(READY)
	$(BIN)/replicate forensics ddpm --profile $(PROFILE) $(foreach pair,$(SET),--set $(pair))

tables: $(READY)
	$(BIN)/replicate report --publish

# Did the rows come out as the committed ones? Exit code 1 where a distance lies outside its interval.
verify: $(READY)
	$(BIN)/replicate verify

claims: $(READY)
	$(BIN)/replicate claims

bench: $(READY)
	$(BIN)/replicate bench

ui: $(READY)
	$(BIN)/mlflow ui --host 127.0.0.1 --backend-store-uri "$$($(BIN)/python -m replication.harness.tracking)"

# Pin what is installed now: names and versions, no hosts, no paths.
lock: $(READY)
	$(BIN)/python -m pip freeze --exclude-editable \
	  | sed -E 's/^((nvidia|triton|cuda)[^;]*)$$/\1 ; sys_platform == "linux"/' > requirements.lock
