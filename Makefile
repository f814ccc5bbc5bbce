# The front door: thin names over CMake and scripts/. `make help` lists them.
.DEFAULT_GOAL := build
JOBS ?= $(shell nproc)
PREFIX ?= /usr/local
.PHONY: build demo test crosscheck opfuzz gradcheck exact nightly bench clean install help setup

help: ## list these targets
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile | expand -t 20

setup: ## install what is missing (Debian packages, as root or through sudo)
	@scripts/setup

build: ## build/bin/plumb, build/lib/libplumb.a and libplumb.so (default)
	@command -v cmake >/dev/null || { echo "cmake is missing: run scripts/setup (or make demo, which does)"; exit 1; }
	@cmake --preset release >/dev/null
	@cmake --build build --parallel $(JOBS)

demo: ## train LeNet-5 on Fashion-MNIST and write pictures to out/
	@scripts/setup demo
	@$(MAKE) --no-print-directory build
	@scripts/demo

test: ## everything CI runs
	@scripts/setup test
	@scripts/test

crosscheck: build ## every op and implementation against the reference, CUDA kernels on the simulator, as a table
	@scripts/crosscheck

opfuzz: build ## random descriptors of every op, in every implementation against the reference
	@scripts/opfuzz

gradcheck: build ## every gradient rule and the models against finite differences
	@cmake --build build --parallel $(JOBS) --target plumb-gradcheck
	@build/bin/plumb-gradcheck

exact: build ## the cross-check on small integers, bit for bit
	@cmake --build build --parallel $(JOBS) --target plumb-crosscheck
	@build/bin/plumb-crosscheck --exact

nightly: ## what takes longer than a commit should wait
	@scripts/setup nightly
	@scripts/nightly

bench: ## speed beside PyTorch, oneDNN, OpenBLAS, dlib and FANN, measured in the same run (ten minutes)
	@scripts/setup bench
	@$(MAKE) --no-print-directory build
	@scripts/bench

install: build ## into PREFIX (/usr/local)
	@cmake --install build --prefix $(PREFIX)

clean: ## remove build/ and out/
	@rm -rf build out
