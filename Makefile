# Every target does its own set-up: a .venv from the hashed lock. Needs Python >= 3.11, git and make.
PYTHON ?= python3
BIN := .venv/bin
COMPARISONS := laws noise adaptive optimizers stability
SWEEPS := length width batch scales
PROBLEMS := figure1 xor xor_small training
ifndef STAMP # a make that another one calls has it
export STAMP := $(shell date +%Y%m%d-%H%M%S)
endif

# Imports take seconds; without their bytecode, twice as many.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: figures claims max_margin population xor compare sweeps qk_eigenspectrum qk_sweeps sink_vs_diagonal positional_semantic solvers reliability test test-slow test-slurm test-browser check smoke docs package bench lock clean

figures: .venv/ready
	$(BIN)/dynamics run --config=configs/cooccurrence/figure1.py --name=figure1-$(STAMP)

# Programs that run for milliseconds are sooner done when LLVM does not optimise them, by XLA's older code generator, in one piece.
test test-slow test-slurm test-browser smoke reliability: export XLA_FLAGS := --xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1 $(XLA_FLAGS)

test: .venv/ready
	$(BIN)/pytest -q -n 2 --dist loadfile --no-loadscope-reorder -m "not slow and not slurm and not browser"

test-slow: .venv/ready
	$(BIN)/pytest -q -n 2 --dist loadfile --no-loadscope-reorder -m "slow and not slurm and not browser"

# On a SLURM of three nodes on this machine, for as long as the tests run; Debian or Ubuntu, and root.
test-slurm: .venv/ready
	folder=$$(mktemp -d) && tests/slurm-cluster run $$folder $(BIN)/pytest -q -m slurm && rm -rf $$folder

# The report in Chromium, which must be installed: apt-get install chromium.
test-browser: .venv/ready
	$(BIN)/pytest -q -m browser

check: .venv/ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# Wheel and sdist in an empty environment, away from the repository.
package: .venv/ready
	folder=$$(mktemp -d) && tests/package.sh $(BIN)/python $$folder && rm -rf $$folder

# The smoke variant of every config, which is a part of test-slow, too.
smoke: .venv/ready
	$(BIN)/pytest -q -n 2 -m slow tests/test_configs.py

# The pages of the whole repository as a site; a warning is an error.
docs: .venv/docs
	rm -rf site
	$(BIN)/python -m sphinx -q -W --keep-going -b html -d .venv/doctrees -c docs . site
	@echo site/index.html

.venv/docs: .venv/ready docs/requirements.lock
	$(BIN)/pip install -q --no-compile --disable-pip-version-check --require-hashes -r docs/requirements.lock
	@touch $@

claims: .venv/ready
	$(BIN)/dynamics claims cooccurrence --name=claims-$(STAMP)

# The limits of the first paper's lemmas.
max_margin: .venv/ready
	$(BIN)/dynamics claims --module=experiments.cooccurrence.max_margin_claims --name=max-margin-$(STAMP)

# The first paper's population loss, at up to 240 samples and 1200 words: minutes.
population: .venv/ready
	$(BIN)/dynamics claims --module=experiments.cooccurrence.population_claims --name=population-$(STAMP)

# Co-occurrence as XOR: where attention is needed.
xor: .venv/ready
	$(BIN)/dynamics claims xor --name=xor-$(STAMP)

# Two at a time: one starts while the other integrates.
compare: .venv/ready
	$(MAKE) --no-print-directory -j 2 -O $(addprefix compare-,$(COMPARISONS))

compare-%:
	$(BIN)/dynamics compare --config=configs/cooccurrence/compare_$*.py --name=compare-$*-$(STAMP)

# 1: members diverged, which sweep_batch is about; they are recorded and named.
sweeps: .venv/ready
	$(MAKE) --no-print-directory -j 2 -O $(addprefix sweep-,$(SWEEPS))

sweep-%:
	$(BIN)/dynamics sweep --config=configs/cooccurrence/sweep_$*.py --name=sweep-$*-$(STAMP) || [ $$? = 1 ]

# The second paper: its claims, and how the spectrum moves under gradient flow and under AdamW.
qk_eigenspectrum: .venv/ready
	$(MAKE) --no-print-directory -j 2 -O qk-flow qk-adamw
	$(BIN)/dynamics figures runs/qk-flow-$(STAMP) runs/qk-adamw-$(STAMP)
	$(BIN)/dynamics claims qk_eigenspectrum --name=qk-claims-$(STAMP)

qk-flow qk-adamw: qk-%:
	$(BIN)/dynamics run --config=configs/qk_eigenspectrum/training.py:$* --name=qk-$*-$(STAMP)

qk_sweeps: .venv/ready
	$(MAKE) --no-print-directory -j 2 -O qk-sweep-kappa qk-sweep-tau qk-sweep-text

qk-sweep-%:
	$(BIN)/dynamics sweep --config=configs/qk_eigenspectrum/sweep_$*.py --name=qk-sweep-$*-$(STAMP)

# The third paper: what sinks and diagonals cost, what training finds, what attention smooths.
sink_vs_diagonal: .venv/ready
	$(BIN)/dynamics claims sink_vs_diagonal --name=sinks-$(STAMP)

# The fourth paper: attention by position or by meaning, and which of the two is found.
positional_semantic: .venv/ready
	$(MAKE) --no-print-directory -j 2 -O positional-claims positional-basins_claims

positional-%:
	$(BIN)/dynamics claims --module=experiments.positional_semantic.$* --name=positional-$*-$(STAMP)

# One after another, since seconds are compared. After `make .venv-peers/ready`, torchdiffeq is a peer too.
solvers: .venv/ready
	for problem in $(PROBLEMS); do \
		$(BIN)/dynamics run --config=configs/speed/solvers.py:$$problem --name=solvers-$$problem-$(STAMP) && \
		$(BIN)/python -m experiments.speed.solver_peers runs/solvers-$$problem-$(STAMP) && \
		$(BIN)/dynamics figures runs/solvers-$$problem-$(STAMP) || exit 1; \
	done

# Kills, damage, faults and bad input, counted; at most 20 minutes.
reliability: .venv/ready
	$(MAKE) --no-print-directory -j 2 -O reliability-kills-1 reliability-kills-2 reliability-configs reliability-faults reliability-flips reliability-manifest_cost

reliability-kills-%:
	$(BIN)/python -W ignore -m experiments.reliability.kills --kills=250 --terms=25 --terms-of-figure1=5 --seed=$*

reliability-%:
	$(BIN)/python -W ignore -m experiments.reliability.$*

# As the commands compile. With PEERS=1 against other libraries, which get an environment of their own, 1.1 GB; with DEVICE=gpu (or cpu,
# tpu) batches of members on such a device.
bench: export XLA_FLAGS := --xla_backend_optimization_level=2 $(XLA_FLAGS)
bench: .venv/ready $(if $(PEERS),.venv-peers/ready)
ifdef PEERS
	$(BIN)/python -m experiments.speed.peers.comparisons .venv-peers/bin/python
	$(BIN)/python -m experiments.speed.peers.report runs/peers-$(STAMP)
	cp runs/peers-$(STAMP)/peers.png experiments/speed/pictures/
else ifdef DEVICE
	$(BIN)/python -m experiments.speed.accelerator --device=$(DEVICE)
else
	$(BIN)/python -m experiments.speed.benchmark
	$(BIN)/python -m experiments.speed.sweeps
	$(BIN)/python -m experiments.speed.growth
	$(BIN)/python -m experiments.speed.startup
endif

.venv-peers/ready: experiments/speed/peers/requirements.txt
	$(PYTHON) -m venv --clear .venv-peers
	.venv-peers/bin/pip install -q --no-compile --disable-pip-version-check -r $<
	@touch $@

lock: COMPILE := uv pip compile --universal --python-version 3.11 --generate-hashes --no-annotate --no-header
lock:
	$(COMPILE) --extra dev pyproject.toml -o requirements.lock
	$(COMPILE) --group docs -c requirements.lock -o docs/requirements.lock

.venv/ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(f"Python >= 3.11 is needed, {sys.version.split()[0]} found: make PYTHON=python3.12 ..." if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv --clear .venv
	$(BIN)/pip install -q --no-compile --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install -q --disable-pip-version-check --no-build-isolation --no-deps -e .
	@touch $@

clean:
	rm -rf .venv .venv-peers
