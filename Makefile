# Everything here is idempotent: a second call redoes only what changed.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

VENV := .venv
BIN := $(VENV)/bin
DEMO := runs/demo
export UV_PYTHON_DOWNLOADS := never
export UV_LINK_MODE := copy
# Else every command compiles Python sources again where bytecode is not kept: 10 s of a small one.
export UV_COMPILE_BYTECODE := 1
UV := $(shell command -v uv || echo .uv/bin/uv)
# Debian packages: OCR with its languages, and openly licensed fonts to render training data and the demo with.
PACKAGES := tesseract-ocr tesseract-ocr-eng tesseract-ocr-jpn tesseract-ocr-jpn-vert fontconfig fonts-dejavu-core \
  fonts-liberation fonts-ebgaramond fonts-linuxlibertine fonts-gfs-didot fonts-oldstandard fonts-junicode \
  fonts-noto-cjk fonts-ipaexfont-mincho \
  fonts-anonymous-pro fonts-averia-serif-gwf fonts-bebas-neue fonts-courier-prime fonts-crosextra-caladea \
  fonts-crosextra-carlito fonts-gnutypewriter fonts-inconsolata fonts-jura fonts-league-spartan fonts-ocr-a \
  fonts-ocr-b fonts-open-sans fonts-opendin fonts-roboto-slab fonts-yanone-kaffeesatz \
  fonts-adf-berenis fonts-adf-oldania fonts-adf-romande fonts-cardo fonts-essays1743 fonts-fanwood \
  fonts-gfs-artemisia fonts-goudybookletter fonts-prociono fonts-quattrocento fonts-vollkorn \
  fonts-breip fonts-bwht fonts-comic-neue fonts-dancingscript fonts-dkg-handwriting fonts-ecolier-court \
  fonts-humor-sans fonts-isabella fonts-kaushanscript fonts-kristi fonts-leckerli-one fonts-levien-typoscript \
  fonts-lobster fonts-rufscript fonts-sjfonts fonts-tomsontalks \
  fonts-aoyagi-kouzan-t fonts-aoyagi-soseki fonts-dejima-mincho fonts-ipaexfont-gothic fonts-kiloji fonts-konatu \
  fonts-kouzan-mouhitsu fonts-monapo fonts-motoya-l-cedar fonts-motoya-l-maruberi fonts-oradano-mincho-gsrr \
  fonts-reggae fonts-sawarabi-gothic fonts-sawarabi-mincho fonts-seto fonts-takao-gothic fonts-takao-mincho \
  fonts-vlgothic fonts-yusei-magic

.PHONY: help setup system demo test test-fast lint format fuzz bench model lock clean

help: ## show this help
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

setup: system $(VENV)/.ready ## install what is missing: system packages, uv, the Python environment

system:
	@scripts/install_system.sh $(PACKAGES)

.uv/bin/uv:
	@echo "setup: uv is missing: installing it into .uv"
	python3 -m venv .uv
	.uv/bin/pip install --quiet --disable-pip-version-check uv

$(VENV)/.ready: requirements.lock pyproject.toml | $(if $(filter .uv/bin/uv,$(UV)),.uv/bin/uv)
	@echo "setup: Python environment in $(VENV) (several GB: torch carries its CUDA libraries)"
	test -x $(BIN)/python || $(UV) venv --quiet --python python3 $(VENV)
	VIRTUAL_ENV=$(VENV) $(UV) pip sync --quiet --require-hashes requirements.lock
	VIRTUAL_ENV=$(VENV) $(UV) pip install --quiet --no-deps --editable .
	touch $@

demo: setup ## draw two editions of a trade directory as scans, link them, show figures and a report
	$(BIN)/python scripts/make_demo.py $(DEMO)/scans
	$(BIN)/linkage run configs/directories.yaml --input $(DEMO)/scans --labels $(DEMO)/scans/truth.csv --out $(DEMO)/run

test: setup ## run the tests with coverage, two at a time: each has one thread (TEST=tests/test_link.py)
	$(BIN)/python -m pytest -n 2 --dist worksteal --cov=linkage --cov-report=term:skip-covered $(TEST)

test-fast: setup ## run the tests that need neither the model nor other processes, in about a minute
	$(BIN)/python -m pytest -n 2 -m "not heavy and not slow and not shared"

lint: setup ## check format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: setup ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

fuzz: setup ## feed 10,000 damaged files to every reader (FUZZ="--seed 1 --report fuzz-report.csv")
	$(BIN)/python scripts/fuzz.py $(FUZZ)

bench: setup ## measure speed and memory beside named peers (BENCH="--records 1000000")
	$(BIN)/python benchmarks/bench.py --out benchmarks/results.md $(BENCH)

model: setup ## train the shipped model again, CPU, about two hours (MODEL="--lines FOLDER-OF-TRANSCRIBED-LINES")
	$(BIN)/python scripts/train_base.py $(MODEL)

lock: setup ## resolve the versions of all packages again
	$(UV) pip compile pyproject.toml --extra ocr --extra ray --extra dev --universal --python-version 3.11 --upgrade \
	  --generate-hashes --no-emit-index-url --quiet --output-file requirements.lock

clean: ## remove what the targets above made, but not the Python environment
	rm -rf runs build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find linkage scripts tests -name __pycache__ -prune -exec rm -rf {} +
