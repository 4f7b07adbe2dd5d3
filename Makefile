# Every command of the repository. `make` lists them; each installs what it needs first.
PYTHON ?= python3
VENV := .venv
BENCH := .venv-bench
BIN := $(VENV)/bin
MANIFESTS := shared/pyproject.toml $(wildcard services/*/pyproject.toml)
EDITABLES := $(patsubst %/pyproject.toml,--editable %,$(MANIFESTS))
INSTALLED := $(VENV)/.installed
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# Processes of `make test`: most tests wait for real servers. Files start in order, so that the long ones are not the last.
WORKERS ?= 4
# The suite and its tests start hundreds of processes; without kept bytecode each compiles everything anew.
unexport PYTHONDONTWRITEBYTECODE
# One run of mypy per folder: `tests/unit/<service>` is no package, so the same file name may stand in two of them.
TYPED := $(sort $(dir $(wildcard tests/*/*.py tests/unit/*/*.py benchmarks/*.py benchmarks/*/*.py examples/*/*.py .ci/*.py)))
RESOLVE := $(BIN)/uv pip compile - --quiet --universal --python-version 3.11 --generate-hashes \
	--no-header --no-annotate --no-emit-index-url

.DEFAULT_GOAL := help
.PHONY: help install demo test simulate format lint types generate verify promise lock test-compose up down chaos chaos-kills chaos-cluster oracles memory-safety bench-memory bench-week

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(INSTALLED) ## .venv with everything, from the hashed lock

$(INSTALLED): requirements.lock $(MANIFESTS)
	@$(PYTHON) -c 'import sys; sys.exit("Thymos needs Python 3.11 or newer, $(PYTHON) is " + sys.version.split()[0] + ": make PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV)" >&2
	@$(PIP) install --require-hashes --requirement requirements.lock
	@$(PIP) install --no-deps --no-build-isolation --no-index $(EDITABLES)
	@touch $@

demo: install ## the whole story: drift, experiment, merge, rollback, scaling (under 90 s)
	@$(BIN)/thymos demo $(ARGS)

test: install ## every test that needs no Docker, against a real NATS server (ARGS="-k drop" for some)
	@$(BIN)/python -m pytest -m "not docker" --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

chaos: install ## the demo's load while everything is killed, stopped and paused at random (ARGS="--seconds 120 --seed 7")
	@$(BIN)/python -m tests.chaos soak $(ARGS)

chaos-kills: install ## each service killed (-9) at 50 random moments of the demo's story (ARGS="--moments 50")
	@$(BIN)/python -m tests.chaos kills $(ARGS)

chaos-cluster: install ## three NATS servers, each killed (-9) in turn under load (ARGS="--rounds 2")
	@$(BIN)/python -m tests.chaos cluster $(ARGS)

simulate: install ## all services in virtual time under faults, from seeds (ARGS="--seed 7")
	@$(BIN)/python -m tests.simulation.simulate $(ARGS)

oracles: install ## thousands of random merges beside libgit2, git merge-file and DoltLite (ARGS="--seeds 2000")
	@$(BIN)/python -m tests.oracles $(ARGS)

memory-safety: install ## 5,000 random histories, 300 kills, full disks, two writers of 10,000 commits (ARGS="--only kills --seed 7")
	@$(BIN)/python -m tests.memory_safety $(ARGS)

bench-memory: install $(BENCH)/.installed ## the memory beside libgit2, DoltLite and prollytree, an hour (ARGS="--quick", docs/benchmarks.md)
	@$(BIN)/python -m benchmarks.memory $(ARGS)

bench-week: install ## a week of an agent that commits every second: what it keeps, what reads cost, an hour (docs/memory-upkeep.md)
	@$(BIN)/python -m benchmarks.memory_week $(ARGS)

$(BENCH)/.installed: benchmarks/peers.lock
	@test -x $(BENCH)/bin/python || $(PYTHON) -m venv $(BENCH)
	@echo "installing into $(BENCH)" >&2
	@$(BENCH)/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes --requirement benchmarks/peers.lock
	@touch $@

format: install ## ruff's formatting and its safe fixes
	@$(BIN)/ruff check --fix --quiet .
	@$(BIN)/ruff format --quiet .

lint: install ## ruff, its formatting, and the import contracts
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/buf lint

types: install ## mypy, strict, over everything
	@for part in "shared/src $(wildcard services/*/src)" "$(wildcard tests/*.py)" $(TYPED); do \
		echo "mypy $$part"; $(BIN)/mypy --no-error-summary $$part || failed=1; \
	done; test -z "$$failed"

generate: install ## write proto/ and docs/reference/ from the code
	@$(BIN)/python -m thymos.generate
	@$(BIN)/python -m thymos.config.reference > docs/reference/configuration.md
	@$(BIN)/python -m thymos.observability.catalogue > docs/reference/metrics.md
	@$(BIN)/python -m thymos.cli.reference > docs/reference/cli.md

verify: install ## generated files and the lock are current, and the contract keeps what was released
	@$(BIN)/python -m thymos.generate --check
	@$(BIN)/python -m thymos.contract.released --check
	@$(BIN)/buf breaking --against proto/released/protobuf || { echo "the released contract is broken: make it a new version (CONTRIBUTING.md)" >&2; exit 1; }
	@$(BIN)/python -m thymos.config.reference | diff docs/reference/configuration.md - || { echo "run: make generate" >&2; exit 1; }
	@$(BIN)/python -m thymos.observability.catalogue | diff docs/reference/metrics.md - || { echo "run: make generate" >&2; exit 1; }
	@$(BIN)/python -m thymos.cli.reference | diff docs/reference/cli.md - || { echo "run: make generate" >&2; exit 1; }
	@$(BIN)/python .ci/dependencies.py --check requirements.lock
	@$(BIN)/python .ci/dependencies.py --run --check deploy/run.lock
	@$(BIN)/python .ci/dependencies.py --build --check deploy/build.lock
	@$(BIN)/python .ci/dependencies.py --bench --check benchmarks/peers.lock

promise: verify ## at a release: add the contract of today to proto/released/, which is kept for ever
	@$(BIN)/python -m thymos.contract.released $(ARGS)

lock: ## resolve the dependencies anew into requirements.lock, and the images' from it (UPGRADE=1 takes newer ones)
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -c 'import uv' 2>/dev/null || $(PIP) install uv
	@$(BIN)/python .ci/dependencies.py | $(RESOLVE) --output-file requirements.lock $(if $(UPGRADE),--upgrade)
	@$(BIN)/python .ci/dependencies.py --stamp requirements.lock
	@for part in run build; do \
		rm -f deploy/$$part.lock; \
		$(BIN)/python .ci/dependencies.py --$$part | $(RESOLVE) --constraint requirements.lock --output-file deploy/$$part.lock && \
		$(BIN)/python .ci/dependencies.py --$$part --stamp deploy/$$part.lock || exit 1; \
	done
	@$(BIN)/python .ci/dependencies.py --bench | $(RESOLVE) --output-file benchmarks/peers.lock $(if $(UPGRADE),--upgrade)
	@$(BIN)/python .ci/dependencies.py --bench --stamp benchmarks/peers.lock

test-compose: install ## docker-compose.yml as users start it: built, killed, mended, taken down (needs Docker)
	@$(BIN)/python -m tests.compose $(ARGS)

up: install ## NATS and the four services on this machine, until interrupted; state in .thymos
	@$(BIN)/thymos up --data .thymos $(ARGS)

down: install ## stop what `make up` runs
	@$(BIN)/python .ci/down.py .thymos
