# Every target is documented by the comment behind its name: `make help` prints them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# What the demo needs, and what development needs on top of it.
INSTALLED := $(VENV)/.installed
DEVELOPED := $(VENV)/.developed

.DEFAULT_GOAL := help
.PHONY: help demo test test-oldest lint bench-strategies bench-annotate bench bench-gpu bench-peers bench-checks bench-prepare bench-report bench-false-wins bench-first-query bench-next-query format clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable

$(INSTALLED): pyproject.toml constraints.txt | $(VENV)/bin/python
	$(INSTALL) .
	@touch $@

$(DEVELOPED): pyproject.toml constraints.txt | $(VENV)/bin/python
	$(INSTALL) '.[dev]'
	@touch $@ $(INSTALLED)

demo: $(INSTALLED)  ## install, write synthetic knees, run active learning on them, print a table and draw figures
	@test -f demo-data/dataset.json || $(BIN)/kneeal demo-data --out demo-data --knees 1200
	@rm -rf runs/demo
	$(BIN)/kneeal fit --config configs/demo.yaml --out runs/demo

# One process a core with one thread each: tests of small networks gain nothing from more threads.
test: $(DEVELOPED)  ## run the tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q --numprocesses auto --dist loadfile

# Every direct dependency in the oldest version that pyproject.toml admits, in an environment of its own.
test-oldest:  ## run the tests with the oldest dependencies that pyproject.toml admits
	$(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/python -m pip install --quiet --disable-pip-version-check uv
	.venv-oldest/bin/uv pip install --quiet --python .venv-oldest/bin/python --resolution lowest-direct --editable '.[dev]'
	OMP_NUM_THREADS=1 .venv-oldest/bin/python -m pytest -q --numprocesses auto --dist loadfile

lint: $(DEVELOPED)  ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(DEVELOPED)  ## measure speed on the CPU, into docs/performance.md
	$(BIN)/python benchmarks/speed

bench-gpu: $(DEVELOPED)  ## measure speed on a GPU, into docs/performance.md
	$(BIN)/python benchmarks/speed --device cuda

bench-strategies: $(DEVELOPED)  ## measure time and memory of every strategy on 100,000 knees, into docs/strategies-benchmark.md
	$(BIN)/python benchmarks/strategies.py

bench-annotate: $(DEVELOPED)  ## send 20,000 answers of 20 readers through HTTP, into docs/annotate-load.md
	$(BIN)/python benchmarks/annotate_load.py --out docs/annotate-load.md

bench-next-query: $(DEVELOPED)  ## measure the seconds from the last answer to the next query on DATA=knees IMAGES=oai_knees, into docs/annotate.md
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/next_query.py --data $(or $(DATA),knees) \
	  --images $(or $(IMAGES),oai_knees)

bench-report: $(DEVELOPED)  ## measure the CPU time of `kneeal report` for all of Table 2, into docs/studies.md
	$(BIN)/python benchmarks/report.py

bench-false-wins: $(DEVELOPED)  ## count wins in 1,000 simulated reports of equal strategies, into docs/statistics.md
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/false_wins.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/false_wins.py --spreads
	for kind in uniform two-valued collapsing; do OMP_NUM_THREADS=1 $(BIN)/python benchmarks/false_wins.py --seeds-are $$kind \
	  --strategies 9 --seeds 3 5 10 --sd 3 || exit 1; done

bench-prepare: $(DEVELOPED)  ## measure speed and memory of `kneeal prepare` on RADIOGRAPHS=400, into docs/prepare.md
	$(BIN)/python benchmarks/prepare.py --radiographs $(or $(RADIOGRAPHS),400)

bench-peers: $(DEVELOPED)  ## compare queries with baal's and scikit-activeml's, into docs/peers.md (.[bench])
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/peers.py

bench-checks: $(DEVELOPED)  ## compare numbers with other libraries, into docs/checks.md (.[bench], statsmodels, lifelines)
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/checks.py

bench-first-query: $(DEVELOPED)  ## count the grades among the first 50 labels of DATA=knees, into docs/first-query.md
	$(BIN)/python benchmarks/first_query.py --data $(or $(DATA),knees) $(if $(INIT),--init $(INIT) $(foreach s,$(SET),--set $(s)))

format: $(DEVELOPED)  ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## remove what the demo wrote
	rm -rf demo-data runs/demo
