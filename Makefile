# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors

SHELL := /bin/bash
.DEFAULT_GOAL := help
export PATH := $(CURDIR)/.venv/bin:$(PATH)

.PHONY: help setup demo demo-down test lint unit integration sanity molecule bench build clean

help: ## Say what can be made
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

setup: ## Install what the checkout needs: Debian packages, and .venv
	@.ci/setup

demo: setup ## Two bare hypervisors become ones whose guests are on the LAN through macvtap
	@/usr/bin/python3 extensions/molecule/lab/demo.py up

demo-down: ## Remove the demo's hypervisors, guests and switch
	@/usr/bin/python3 extensions/molecule/lab/demo.py down

test: setup ## Everything that CI checks
	@.ci/test

lint: setup ## Style, types, YAML, Ansible's conventions, documentation
	@.ci/test lint

unit: setup ## Planners and parsers, with plain values
	@.ci/test unit

integration: setup ## The modules against the real kernel and a real libvirtd
	@.ci/test integration

sanity: setup ## ansible-test sanity
	@.ci/test sanity

molecule: setup ## The roles, on the lab; MACVTAP_TEST_VM=no leaves out its virtual machine
	@.ci/test molecule

bench: ## Speed and memory, as ratios to other ways; the tables and plots in docs/benchmark (half an hour)
	@.ci/setup bench
	@python tests/benchmark/run.py

build: setup ## The collection's artefact, in build/
	@ansible-galaxy collection build --force --output-path build

clean: demo-down ## Remove what was made here, the caches included
	@rm -rf .venv .cache .ansible build .mypy_cache .ruff_cache .pytest_cache .hypothesis
