# What one does with Mangrove from a checkout. Everything happens in .venv, which is made on first use.

PYTHON ?= python3
VENV := .venv
# Seconds for which to simulate, on each core.
SECONDS ?= 60
# More for pytest, such as PYTEST_ARGS="-k link -x".
PYTEST_ARGS ?=
# NO_APT=1 leaves the system's packages alone.
NO_APT ?=

# Programs that tests use beyond Python, and the Debian packages that have them.
SYSTEM_PROGRAMS := dockerd:docker.io mosquitto:mosquitto nft:nftables ip:iproute2 busybox:busybox-static podman:podman \
    systemd-analyze:systemd systemd-nspawn:systemd-container docker-compose:docker-compose \
    promtool:prometheus chromium:chromium iperf3:iperf3 nsenter:util-linux

.DEFAULT_GOAL := help
.PHONY: help demo test-deps system-packages test soak bench simulate docs lint clean

help: ## list what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.installed-all ## start a root, clusters and nodes, and run the example on them
	$(VENV)/bin/mangrove demo

test-deps: $(VENV)/.installed-dev system-packages ## get what the tests need

# Three processes on two cores: half of the suite starts programs and waits for them (tests/conftest.py says what waits for what).
test: test-deps lint ## check everything: lint, then all tests
	$(VENV)/bin/pytest -ra -n 3 --dist loadgroup $(PYTEST_ARGS)

soak: test-deps ## the same tests with more seeds, rounds and time
	MANGROVE_SOAK=1 $(VENV)/bin/pytest -ra -n 3 --dist loadgroup $(PYTEST_ARGS)

bench: $(VENV)/.installed-dev ## measure what is claimed about speed and size
	$(VENV)/bin/python -m benchmarks

simulate: $(VENV)/.installed-dev ## try to break the protocol: make simulate SECONDS=180
	$(VENV)/bin/python -m tests.simulation --seconds $(SECONDS)

docs: $(VENV)/.installed-dev ## build the documentation as a site: build/site/index.html
	$(VENV)/bin/mkdocs build --quiet

lint: $(VENV)/.installed-dev ## style, types and who may import whom
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports --no-logo

clean: ## remove all that was made here
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# ---- the environment -------------------------------------------------------------------------------------------------

# The stamps say that what setup.cfg asks for is installed. All that `all` needs is in `dev` too.
$(VENV)/.installed-all: setup.cfg pyproject.toml | $(VENV)/bin/pip
	$(VENV)/bin/python -m pip install -qq --editable '.[all]'
	@touch $@

$(VENV)/.installed-dev: setup.cfg pyproject.toml | $(VENV)/bin/pip
	$(VENV)/bin/python -m pip install -qq --editable '.[dev]'
	@touch $@ $(VENV)/.installed-all

# pip is what venv makes last: when it is there, the environment is whole.
$(VENV)/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "Mangrove needs Python 3.11 or newer; $(PYTHON) is: $$($(PYTHON) --version 2>&1)." >&2; \
	    echo "Name another one: make PYTHON=/path/to/python3.12" >&2; exit 1; }
	@# Debian keeps what makes environments in a package of its own; no program is called python-venv, so it is installed.
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || NO_APT=$(NO_APT) sh tests/system-packages.sh \
	    python-venv:$$($(PYTHON) -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
	$(PYTHON) -m venv $(VENV)

system-packages:
	@NO_APT=$(NO_APT) sh tests/system-packages.sh $(SYSTEM_PROGRAMS)
