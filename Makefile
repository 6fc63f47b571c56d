# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors

.DEFAULT_GOAL := help
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export PYTHONNOUSERSITE := 1

.PHONY: help setup venv demo demo-down test one lint unit integration sanity molecule browser-test bench matrix specs torture build docs importer release clean

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1	/p' $(MAKEFILE_LIST) | expand -t 14

setup: ## Install what all stages need: Debian packages (root on Debian) and .venv
	@.ci/setup debian dev oldest-core

venv: ## Install what lint, unit, sanity and build need into .venv: any user, any distribution
	@.ci/setup lint unit

demo: ## Two bare hypervisors whose guests get on the LAN through macvtap (root on Debian, 1.5 min)
	@.ci/setup debian build
	@/usr/bin/python3 extensions/molecule/lab/demo.py up

demo-down: ## Remove the demo's hypervisors, guests and switch
	@/usr/bin/python3 extensions/molecule/lab/demo.py down

test: setup ## What .ci/run runs, side by side (root on Debian, 30 to 40 min); MACVTAP_TEST_LANES=N: N at a time
	@.ci/test

one: ## One test file or test: make one TEST=tests/unit/test_lock.py::test_name
	@.ci/setup $(if $(findstring integration,$(TEST)),debian) unit
	@pytest $(TEST)

lint: ## Style, types, YAML, Ansible's conventions, documentation, licences (any user, 1 min)
	@.ci/setup lint
	@.ci/test lint

unit: ## Planners and parsers, with plain values (any user, 2 min)
	@.ci/setup unit
	@.ci/test unit

integration: ## The modules against the real kernel and a real libvirtd (root on Debian)
	@.ci/setup debian unit oldest-core
	@.ci/test integration

sanity: ## ansible-test sanity (any user)
	@.ci/setup build
	@.ci/test sanity

molecule: ## The roles, on the lab; MACVTAP_TEST_VM=no leaves out its virtual machines (root on Debian)
	@.ci/setup debian molecule
	@.ci/test molecule

browser-test: ## The report's page and the site in Chromium, which it installs if there is none: 300 MB (root on Debian)
	@.ci/setup chromium browser docs
	@pytest tests/browser

bench: ## Speed and memory, as ratios to other ways, into docs/benchmark (root on Debian, 35 min)
	@.ci/setup debian unit peers
	@python tests/benchmark/run.py

matrix: ## All releases, Pythons and versions, into docs/compatibility.md (root on Debian); ROWS="libvirt machine"
	@.ci/setup debian dev
	@.venv/bin/python .ci/matrix.py $(ROWS)

specs: ## Write what follows from tables: the options of a link in the argument specification of macvtap_links (any user)
	@.ci/setup unit
	@PYTHONPATH=.collections:tests python -m role_specs

torture: ## Random sequences of runs while anything else happens, on models, and damaged input; MINUTES=60 SEED=1 (any user)
	@.ci/setup unit
	@PYTHONPATH=.collections:tests python -m torture.run --minutes $(or $(MINUTES),10) $(if $(SEED),--seed $(SEED))

build: ## The collection's archive, in build/ (any user; with the ansible-core that there is, or one in .venv)
	@command -v ansible-galaxy >/dev/null || .ci/setup build
	@ansible-galaxy collection build --force --output-path build

docs: ## The site of the documentation, in build/site, without a network once installed (any user, 1 min)
	@.ci/setup docs
	@python .ci/website.py

importer: ## What Galaxy checks when the archive is uploaded: no warning (any user, 2 min)
	@.ci/setup release
	@python .ci/importer.py

release: ## Changelog, version, commit, tag, archive; VERSION=1.0.0 DRY_RUN=yes REPOSITORY=https://… (see CONTRIBUTING.md)
	@.ci/setup release
	@python .ci/release.py

clean: ## Remove what was made here: the demo, .venv and the caches
	@[ ! -d /run/linuxvirt-lab/macvtap-demo ] || $(MAKE) demo-down
	@rm -rf .venv .cache .ansible build .mypy_cache .ruff_cache .pytest_cache .hypothesis
