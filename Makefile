# Needs make and Python 3.11 or newer; everything else is installed into .venv.
#
#   make demo     the Game of Life on four nodes, until Ctrl-C
#   make demo STEPS=50 SIZE=32 NODES=4 PORT=8000 RATE=10
#                 plays 50 steps and ends: exit 0 only if every step was right
#   make demo MACHINES=2
#                 one game over two clusters with a Redis between them; needs redis-server
#   make drill    kills processes of a cluster at random for five minutes, and checks what clients
#                 receive; SEED=7 MINUTES=5 SIZE=32 NODES=4 RATE=5; exit 0 if nothing was violated
#   make drill-machines
#                 the same for several machines on one Redis, whose links are cut, too;
#                 SEED=7 MINUTES=5 MACHINES=2; as root in network namespaces, else on loopback
#   make soak     mixed load with a rolling restart in the middle; MINUTES=20; memory must not grow
#   make test     the tests on every Python from 3.11 to 3.14 on PATH, lint, types, the packages
#   make lint     ruff's checks alone
#   make format   has ruff correct what it can
#   make types    mypy alone
#   make docs     builds the documentation as a site, in site/
#   make package  builds sdist and wheel, and checks them
#   make lock     looks for newer versions of all that is installed, and writes requirements/*.txt
#   make clean    removes .venv and what builds and tests leave behind

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
PIP := $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check

SIZE ?= 32
NODES ?= 4
PORT ?= 8000
DEMO = --size $(SIZE) --nodes $(NODES) --port $(PORT) $(if $(STEPS),--steps $(STEPS)) \
	$(if $(RATE),--rate $(RATE)) $(if $(MACHINES),--machines $(MACHINES))

DRILL = --size $(SIZE) --nodes $(NODES) $(if $(SEED),--seed $(SEED)) \
	$(if $(MINUTES),--minutes $(MINUTES)) $(if $(RATE),--rate $(RATE))

.PHONY: demo drill drill-machines soak test lint format types docs package lock clean
.DELETE_ON_ERROR:

demo: $(VENV)/.installed
	@exec $(VENV)/bin/python -m workers.demo $(DEMO)

drill: $(VENV)/.installed
	@exec $(VENV)/bin/python -m workers.drill $(DRILL)

drill-machines: $(VENV)/.installed
	@exec $(VENV)/bin/python -m workers.drill.machines $(if $(SEED),--seed $(SEED)) \
	  $(if $(MINUTES),--minutes $(MINUTES)) $(if $(MACHINES),--machines $(MACHINES))

soak: $(VENV)/.installed
	@exec $(VENV)/bin/python -m workers.drill.soak --nodes $(NODES) $(if $(MINUTES),--minutes $(MINUTES))

test: $(VENV)/.tox
	$(VENV)/bin/tox run

lint format types docs package lock: $(VENV)/.tox
	$(VENV)/bin/tox run -e $@

# An environment of the same Python is kept, because contributors install more into it (CONTRIBUTING.md).
$(VENV)/.installed: pyproject.toml setup.py requirements/demo.txt
	@test -n "$(PYTHON)" || { echo "c10k needs Python 3.11 or newer, and found none on PATH." \
	  "Name one: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo \
	  "c10k needs Python 3.11 or newer; $(PYTHON) is not." >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) cannot make virtual" \
	  "environments. On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@echo "Installing c10k into $(VENV) (once) ..."
	@test "$$($(VENV)/bin/python -c 'import pip, sys; print(sys.version)' 2>/dev/null)" = \
	  "$$("$(PYTHON)" -c 'import sys; print(sys.version)')" || "$(PYTHON)" -m venv --clear $(VENV)
	@$(PIP) --require-hashes -r requirements/demo.txt
	@$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.tox: $(VENV)/.installed requirements/tox.txt
	@echo "Installing tox into $(VENV) (once) ..."
	@$(PIP) --require-hashes -r requirements/tox.txt
	@touch $@

clean:
	rm -rf $(VENV) .tox build dist django_c10k.egg-info _trial_temp* .coverage* .hypothesis \
	  .mypy_cache .ruff_cache site
	find . -name __pycache__ -type d -prune -exec rm -rf {} + -o -name dropin.cache -exec rm {} +
