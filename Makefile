# make quickstart   the whole path in miniature: installs into .venv, trains, scores, prints the table
# make test         all quick tests; ROOM=plan those of one room, ARGS="-k resume" passed on to pytest
# make fast         seconds: the rooms that need neither torch nor a process; make coverage shows what it runs of them
# make slow         tests that take minutes
# make cases        inputs of ../shared/cases, which once showed a fault, and what each gives now
# make fuzz         spoilt input against all that reads any (tests/fuzz); FUZZ=10000 FUZZ_SEED=1 for more, and others
# make chaos        a miniature study under attack, on a real Slurm and this machine; SEED=1 MINUTES=25 (tests/chaos)
# make goldens      writes the texts that tests compare whole (batch scripts, the references' answers) and shows the
#                   difference; ids and what other programs answered are never written (tests/goldens.py)
# make lint         ruff, mypy, order of the rooms     make bench  measured speeds
# make peers        other programs beside ours, each in its own environment (build/peers): docs/speed.md, 10-20 minutes
# make docs         the docs as pages, in build/docs: every link and anchor leads somewhere
# make lock         the newest versions that fit together into requirements.lock, which install and CI use
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
GPU := $(shell command -v nvidia-smi 2>/dev/null)
EXTRAS := cleaning,gguf,representations,dashboard,trackio,tensorboard,lora$(if $(GPU),$(shell echo ,)gpu)
TORCH := 2.13.0
# The quick tests wait for other processes most of the time: three of them fill two cores. The slow ones start many, and a
# cluster beside two others is too slow for what its tests do meanwhile. Each process of tests is given whole files, those
# first that take longest (tests/conftest.py).
CORES := $(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
PYTEST := $(BIN)/python -m pytest --dist loadfile --no-loadscope-reorder -n $(if $(filter 1 2,$(CORES)),$(CORES),4)
PYTEST_QUICK := $(BIN)/python -m pytest --dist loadfile --no-loadscope-reorder -n $(if $(filter 1 2 3,$(CORES)),3,4)
# -qq shows errors alone: -q also tells of every index and folder that pip passes over
PIP := $(BIN)/pip install -qq
# three times, with pauses: a registry's hiccup must not fail an installation
TRY := try() { for pause in 5 30 ""; do "$$@" && return; [ "$$pause" ] && sleep $$pause; done; return 1; }; try

# What `make fast` runs, but for what tests/conftest.py marks heavy.
FAST := $(addprefix tests/,benchmarks/test_gsm8k.py data/test_clean.py data/test_read.py \
	data/test_select.py data/encode/test_batches.py jobs/test_job.py plan/test_build.py report slurm/test_texts.py \
	store/test_store.py tracking/test_metrics.py test_identity.py test_registry.py test_spec.py test_stats.py test_strategies.py) \
	$(filter-out %/test_sweeper.py,$(wildcard tests/config/test_*.py))
PYTEST_FAST = $(BIN)/python -m pytest -n 2 --dist loadfile --hypothesis-profile=fast -m "not slow and not heavy and not fuzz and not cases" \
	$(foreach path,$(FAST),$(or $(wildcard $(path)),$(error there is no $(path); correct FAST in the Makefile)))
GOLDENS := tests/fixtures tests/launch/slurm/golden docs/models.md

.PHONY: docs quickstart install torch lock test fast slow cases fuzz chaos coverage goldens lint format bench peers clean

quickstart: install
	@$(BIN)/python launch.py study=quickstart

install: $(VENV)/.installed

# torch first: left to itself, pip takes the newest CUDA build. A machine with a GPU keeps the torch it has (its
# site packages are visible), and gets pip's choice where it has none. A machine without one gets the CPU build: pip
# finds it where an index or a folder of wheels offers it, else uv knows where PyTorch keeps it.
# Everything else is pinned by requirements.lock. Dependency groups need pip 25.1, newer than Python 3.11 brings.
$(VENV)/.installed: pyproject.toml setup.py requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed; name one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@echo "installing into $(VENV): about 2 GB, 3 minutes the first time"
	@$(PYTHON) -m venv $(if $(GPU),--system-site-packages) $(VENV)
	@$(BIN)/python -c 'import torch' 2>/dev/null || $(if $(GPU),true,{ $(TRY) $(MAKE) -s torch; })
	@$(TRY) $(PIP) 'pip>=25.1'
	@$(TRY) $(PIP) -c requirements.lock -e '.[$(EXTRAS)]' --group dev
	@$(BIN)/python -m compileall -q sft_sweeps hydra_plugins  # else, where Python may not write beside sources, at each start
	@touch $@

torch:
	@$(PIP) 'torch==$(TORCH)+cpu' 2>/dev/null \
		|| { $(PIP) uv && $(BIN)/uv pip install -q --python $(BIN)/python --torch-backend cpu 'torch==$(TORCH)'; }

# For every Python that is supported. Without torch and what comes with its builds, which the machine decides (above).
lock: install
	@$(TRY) $(PIP) uv
	@$(BIN)/uv pip compile -q --universal --upgrade --no-header --no-annotate --no-emit-index-url --no-emit-find-links \
		--all-extras --group dev pyproject.toml -o requirements.all
	@grep -Ev '^(torch|triton|nvidia-|cuda-)' requirements.all > requirements.lock; rm requirements.all

test: install
	@$(PYTEST_QUICK) -m "not slow and not fuzz and not cases" $(ARGS) $(if $(ROOM),$(or $(wildcard tests/$(ROOM) tests/test_$(ROOM).py),$(error there is no tests/$(ROOM))))

fast: install
	@$(PYTEST_FAST) $(ARGS)

slow: install
	@$(PYTEST) -m slow $(ARGS)

cases: install
	@$(BIN)/python -m pytest -n 0 -m cases tests/test_cases.py $(ARGS)

fuzz: install
	@$(PYTEST_QUICK) -m fuzz $(ARGS)

chaos: install
	@PYTHONPATH=tests $(BIN)/python -m chaos --seed $(or $(SEED),1) --minutes $(or $(MINUTES),5) $(ARGS)

coverage: install
	@$(PYTEST_FAST) --cov --cov-report=term

goldens: install
	@GOLDENS=write $(PYTEST) -q $(ARGS) $(shell grep -rlE 'goldens.(compare|writing)' tests --include='test_*.py')
	@git --no-pager diff --stat -- $(GOLDENS)
	@git --no-pager diff -- $(GOLDENS)

lint: install
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: install
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

docs: install
	@$(BIN)/python docs/build_site.py

bench: install
	@$(BIN)/python -m bench

peers: install
	@$(TRY) $(BIN)/python -m bench.peers.environments
	@$(BIN)/python -m bench.peers $(ARGS)

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
