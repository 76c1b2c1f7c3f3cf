# Everything a builder needs. `make` lists it. Needs cargo, make and Python; what else is used goes into .venv and target/.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
WHEEL_DIR := target/wheels
# The Python versions that the one wheel is tested on; those not found on this machine are named and left out.
PYTHONS ?= 3.8 3.11 3.13

# Seeds of `make sim`, and of the short run in `make test`.
SEEDS ?= 500
SMOKE_SEEDS ?= 24

.DEFAULT_GOAL := help
.PHONY: help demo test test-rust test-python test-concurrency test-sim sim sim-mutants churn chaos strong-chaos strong-hand-overs exits dashboard cancellations kills kills-mutant docs verify fix bench bench-paired bench-store bench-memory bench-durable bench-strong wheel clean

help:            ## list the targets
	@grep -hE '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 20

demo: $(VENV)/.maturin ## build, install, run three nodes on real input; ends in a table
	$(BIN)/maturin build --release --out $(WHEEL_DIR)/release
	$(BIN)/pip install --quiet --force-reinstall --no-deps $(WHEEL_DIR)/release/*.whl
	$(BIN)/pip install --quiet 'kvstore-rs[cli]' --find-links $(WHEEL_DIR)/release
	$(BIN)/kvstore demo

test: test-rust test-concurrency test-sim test-python ## all tests, on every Python of PYTHONS that is here

test-rust: ## unit, property and protocol tests, and the rules of the house
	cargo test --lib --test tidy --test shutdown --test linear

test-concurrency: ## the store under every schedule that shuttle tries
	cargo test --features shuttle --test concurrency

test-sim: ## whole clusters on a simulated network, a few seeds
	cargo sim --seeds $(SMOKE_SEEDS)
	cargo sim --strong --seeds $(SMOKE_SEEDS)

sim: ## whole clusters on a simulated network, SEEDS of each engine; ends in two tables
	cargo sim --seeds $(SEEDS)
	cargo sim --strong --seeds $(SEEDS)

sim-mutants: ## known mistakes, each of which the tests of what is on disk or the simulation have to catch
	cargo test --features faults --lib the_known_mistakes_are_caught
	cargo sim --mutants
	cargo sim --strong --mutants

test-python: $(VENV)/.maturin ## one wheel, the pytest suite on each Python
	rm -rf $(WHEEL_DIR)/dev
	cargo build --quiet --example check
	$(BIN)/maturin build --profile dev --out $(WHEEL_DIR)/dev
	scripts/test-python $(WHEEL_DIR)/dev $(PYTHONS)

churn: ## ten minutes of puts and deletes while nodes are killed and restarted
	KVSTORE_CHURN_SECONDS=600 $(MAKE) test-python PYTHONS=3.11 PYTEST_ARGS='-k churn --timeout 900'

chaos: ## ten minutes of kills, pauses and network cuts; as root, with namespaces, it cuts for real
	KVSTORE_CHAOS_SECONDS=600 $(MAKE) test-python PYTHONS=3.11 PYTEST_ARGS='-k chaos -s --timeout 900'

strong-chaos: ## ten minutes of kills, pauses and network cuts under strong keyspaces, every answer judged; as root it cuts
	KVSTORE_STRONG_SECONDS=600 $(MAKE) test-python PYTHONS=3.11 PYTEST_ARGS='-k strong_linearizable -s --timeout 3600'

strong-hand-overs: ## 1,000 hand-overs of a lock between processes that are killed and stopped
	KVSTORE_STRONG_HAND_OVERS=1000 $(MAKE) test-python PYTHONS=3.11 PYTEST_ARGS='-k strong_hand_overs -s --timeout 3600'

exits: ## 1,000 ends of the interpreter, of every kind, with nodes that run and calls under way
	KVSTORE_EXITS=1000 $(MAKE) test-python PYTHONS=3.11 PYTEST_ARGS='-k exits -s --timeout 7200'

dashboard: ## the dashboard in a real browser; Chromium has to be on the PATH
	KVSTORE_BROWSER=1 $(MAKE) test-python PYTHONS=3.11 PYTEST_ARGS='-k dashboard -s -rs'

cancellations: ## 100,000 calls of which many are given up: nobody gets the answer of another
	KVSTORE_CANCELLED_CALLS=100000 $(MAKE) test-python PYTHONS=3.11 PYTEST_ARGS='-k cancellation -s --timeout 3600'

kills: ## 200 kills and 200 power cuts of a durable node; as root, for the power cuts
	KVSTORE_KILL_CYCLES=200 KVSTORE_POWER_CUTS=200 $(MAKE) test-python PYTHONS=3.11 PYTEST_ARGS='-k "by_kills or with_the_power" -s --timeout 7200'

kills-mutant: $(VENV)/.maturin ## the same with known mistakes, which the power cuts have to catch; its wheel is for nobody
	rm -rf $(WHEEL_DIR)/faults
	$(BIN)/maturin build --profile dev --features python,faults --out $(WHEEL_DIR)/faults
	scripts/kills-mutant $(WHEEL_DIR)/faults

verify: $(VENV)/.lint ## everything that can be checked without running it; writes nothing to the tree
	cargo fmt --check
	cargo clippy --quiet --all-targets -- -D warnings
	cargo clippy --quiet --all-targets --features python,shuttle -- -D warnings
	cargo sim-clippy
	RUSTDOCFLAGS='-D warnings' cargo doc --quiet --no-deps --lib
	cargo test --quiet --test tidy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict --python-version 3.8 python/kvstore tests/python/typing/good.py tests/python/typing/bad.py
	$(BIN)/mypy --strict --python-version 3.10 python/pytest_kvstore
	$(BIN)/maturin develop --quiet
	PATH="$(CURDIR)/$(BIN):$$PATH" scripts/verify-types
	PATH="$(CURDIR)/$(BIN):$$PATH" pyright --pythonversion 3.8 tests/python/typing/good.py
	cd tests && ../$(BIN)/python -m mypy.stubtest kvstore._core --mypy-config-file ../pyproject.toml

	@if $(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then $(MAKE) docs; \
	else echo 'the site is not checked: it needs Python 3.11 or later'; fi

docs: $(VENV)/.docs ## the site of docs/ with its reference, in target/site; a warning is an error
	@# Without --quiet, which keeps warnings from being counted.
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

fix: $(VENV)/.lint ## what can be mended by a machine
	cargo fmt
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.bench ## side-by-side figures, medians of five, as a table
	$(BIN)/maturin develop --quiet --release
	$(BIN)/python bench/run.py --markdown target/performance.md

bench-paired: ## in-process get and put against another build: BASE=path/to/kvstore.whl
	@test -n '$(BASE)' || { echo 'BASE=path/to/kvstore.whl is missing'; exit 2; }
	$(MAKE) wheel
	for side in base new; do $(PYTHON) -m venv --clear target/venvs/paired-$$side; done
	target/venvs/paired-base/bin/pip install --quiet --disable-pip-version-check '$(BASE)'
	target/venvs/paired-new/bin/pip install --quiet --disable-pip-version-check $(WHEEL_DIR)/release/*.whl
	target/venvs/paired-new/bin/python bench/paired.py target/venvs/paired-base/bin/python target/venvs/paired-new/bin/python

bench-store: ## the store and the strong state machine alone, records, its log and snapshots on disk, and the layouts it was chosen from
	cargo bench --bench store
	cargo bench --bench machine
	cargo bench --bench records
	cargo bench --bench log
	cargo bench --bench snapshot
	cargo bench --bench layouts

bench-memory: ## memory an entry beside a redis-server of this machine
	$(PYTHON) bench/memory.py

bench-strong: $(VENV)/.bench ## strong keyspaces beside the etcd of this machine: puts, gets, failover
	$(BIN)/maturin develop --quiet --release
	$(BIN)/python bench/strong.py --markdown target/strong.md

bench-durable: ## synced puts and recovery beside the redis-server and etcd of this machine, as tables
	$(PYTHON) bench/durable.py --markdown target/durable.md

wheel: $(VENV)/.maturin ## the wheel for this platform, in target/wheels/release
	$(BIN)/maturin build --release --out $(WHEEL_DIR)/release

clean: ## what was built
	rm -rf target $(VENV)

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.maturin: $(VENV)/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check 'maturin>=1.9.4,<2'
	@touch $@

$(VENV)/.lint: $(VENV)/.maturin requirements/lint.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements/lint.txt
	@touch $@

$(VENV)/.docs: $(VENV)/bin/python requirements/docs.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements/docs.txt
	@touch $@

$(VENV)/.bench: $(VENV)/.maturin requirements/bench.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements/bench.txt
	@touch $@
