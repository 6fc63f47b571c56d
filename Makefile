# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors

SHELL := /bin/bash
.DEFAULT_GOAL := help
export PATH := $(CURDIR)/.venv/bin:$(PATH)

.PHONY: help setup venv demo demo-down test one lint unit integration sanity molecule bench specs torture build clean

help: ## Say what can be made
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

setup: ## Install all that the checkout needs: Debian packages, and .venv
	@.ci/setup

venv: ## Install as much as lint, unit and sanity need: .venv, on any distribution, by any user
	@.ci/setup venv

demo: setup ## Two bare hypervisors become ones whose guests are on the LAN through macvtap
	@/usr/bin/python3 extensions/molecule/lab/demo.py up

demo-down: ## Remove the demo's hypervisors, guests and switch
	@/usr/bin/python3 extensions/molecule/lab/demo.py down

test: setup ## Everything that CI checks, side by side; MACVTAP_TEST_LANES says how much at once
	@.ci/test

one: ## One file or test: make one TEST=tests/unit/test_lock.py::test_name (those of tests/integration as root)
	@.ci/setup $(if $(findstring integration,$(TEST)),all,venv)
	@pytest $(TEST)

lint: venv ## Style, types, YAML, Ansible's conventions, documentation
	@.ci/test lint

unit: venv ## Planners and parsers, with plain values
	@.ci/test unit

integration: setup ## The modules against the real kernel and a real libvirtd
	@.ci/test integration

sanity: venv ## ansible-test sanity
	@.ci/test sanity

molecule: setup ## The roles, on the lab; MACVTAP_TEST_VM=no leaves out its virtual machine
	@.ci/test molecule

bench: ## Speed and memory, as ratios to other ways; the tables and plots in docs/benchmark (half an hour)
	@.ci/setup bench
	@python tests/benchmark/run.py

specs: venv ## Write what follows from tables: the options of a link in the argument specification of macvtap_links
	@PYTHONPATH=.collections:tests python -m role_specs

torture: venv ## Sequences of runs with anything happening at any call, on a model of libvirt; MINUTES=60 SEED=1
	@PYTHONPATH=.collections:tests python -m torture.run --minutes $(or $(MINUTES),10) $(if $(SEED),--seed $(SEED))

build: venv ## The collection's artefact, in build/
	@ansible-galaxy collection build --force --output-path build

clean: demo-down ## Remove what was made here, the caches included
	@rm -rf .venv .cache .ansible build .mypy_cache .ruff_cache .pytest_cache .hypothesis
