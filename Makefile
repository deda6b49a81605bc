# Every target first makes .venv from the lock file. Nothing else is needed on a Debian with Python 3.11.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: install demo check test unit parts bench lock schema clean

install: $(STAMP)

$(STAMP): requirements.lock pyproject.toml
	./infra/bootstrap.sh $(PYTHON) $(VENV)
	touch $(STAMP)

demo: install        ## back up a shard under load, destroy it, restore it, prove it
	$(BIN)/python -m infra.demo

check: install       ## lint, types, import contracts, unit tests: seconds
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports --no-cache
	$(BIN)/pytest -q -n 2 --dist loadfile tests/unit

test: check parts    ## everything, with real MySQL servers and a real S3 store: minutes
	$(BIN)/pytest -q -n 3 --dist loadfile tests/contract tests/scenario

parts:               ## programs that some tests need: a browser, promtool, PostgreSQL (root installs them)
	./infra/parts.sh

bench: install       ## measure beside peers, then the stories (two hours; prints tables)
	$(BIN)/python -m benchmarks
	$(BIN)/python -m benchmarks incremental
	$(BIN)/python -m benchmarks chain-restore --rounds 3
	$(BIN)/python -m benchmarks one-table --rounds 3
	$(BIN)/python -m benchmarks referring
	$(BIN)/python -m benchmarks retention
	$(BIN)/python -m benchmarks planning --rounds 3
	$(BIN)/python -m benchmarks verify --rounds 3
	$(BIN)/python -m benchmarks mirror --rounds 3
	$(BIN)/python -m benchmarks serve
	$(BIN)/python -m benchmarks month
	$(BIN)/python -m benchmarks scheduling

lock: install        ## pin every dependency anew
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --group dev pyproject.toml -o requirements.lock

schema: install      ## record the empty database of the Prefect that is installed: after another pin of it
	$(BIN)/python -m flows.service.recording

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis
