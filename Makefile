# Two commands matter: `make demo` shows the whole chain, `make test` proves it. Everything stays inside this checkout.
SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help demo test soak setup runtime servers format clean distclean

help:
	@echo 'make demo                     meters to mail on this machine; Ctrl-C ends it'
	@echo 'make demo SECONDS=90          the same, ending by itself'
	@echo 'make demo REPLAY=file.csv.gz  meters driven by a recorded load'
	@echo 'make test                     all checks, with real servers (docs/testing.md)'
	@echo 'make soak                     the whole fault catalogue and the random campaigns, with ten times the work'
	@echo 'make setup                    only make .venv;  PYTHON=python3.12 chooses the interpreter'
	@echo 'make servers                  only fetch the servers that tests talk to, into .local/'
	@echo 'make format                   let ruff lay out the code'
	@echo 'make clean / distclean        remove caches / and .venv and .local, too'

demo: runtime
	@exec .venv/bin/meterline demo $(if $(SECONDS),--seconds $(SECONDS)) $(if $(REPLAY),--replay '$(REPLAY)') $(DEMO_ARGS)

runtime:
	@PYTHON='$(PYTHON)' scripts/setup.sh runtime

setup:
	@PYTHON='$(PYTHON)' scripts/setup.sh dev

servers: setup
	@.venv/bin/python scripts/fetch_servers.py $(SERVERS_ARGS)

test: setup servers
	@exec scripts/test.sh

soak: setup servers
	@.venv/bin/python -m tests.faults --profile soak $(SOAK_ARGS)
	@METERLINE_SEQUENCES=1000000 .venv/bin/python -m pytest -n 2 tests/analytics/test_conservation.py
	@METERLINE_FUZZ_FRAMES=1200000 .venv/bin/python -m pytest -n 2 tests/collector/test_fuzz.py

format: setup
	@.venv/bin/ruff format .
	@.venv/bin/ruff check --fix .

clean:
	@rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -not -path './.venv/*' -not -path './.local/*' -prune -exec rm -rf {} +

distclean: clean
	@rm -rf .venv .local
