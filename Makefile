# Every target makes .venv when it is missing or out of date: no step comes before these.
#   make book [PROFILE=demo] [DATA_DIR=folder] [CORES=2] [PIP_ARGS=…]
#   make test
#   make check     looks at every page of the built site in Chromium
PROFILE  ?= demo
DATA_DIR ?=
CORES    ?= $(shell nproc 2>/dev/null || sysctl -n hw.ncpu 2>/dev/null || echo 2)
PIP_ARGS ?=
PORT     ?= 8000
RUN      := .venv/bin/
STAMP    := .venv/.installed

.PHONY: book test test-slow lint check pdf bench serve screenshots lock clean
.DEFAULT_GOAL := book

$(STAMP): requirements.txt pyproject.toml scripts/make_venv.sh
	@sh scripts/make_venv.sh $(PIP_ARGS)

book: $(STAMP)
	@$(RUN)scarafm build --profile "$(PROFILE)" --cores $(CORES) $(if $(DATA_DIR),--data-dir "$(DATA_DIR)")
	@$(RUN)scarafm pdf --optional

test: $(STAMP) lint
	@$(RUN)python -m pytest -m "not slow and not site" -n $(CORES)

test-slow: $(STAMP)
	@$(RUN)python -m pytest -m slow -n $(CORES) --dist loadgroup -rs --durations=0 --durations-min=5

check: $(STAMP)
	@$(RUN)python scripts/check_site.py
	@$(RUN)python -m pytest -m site tests/site -n $(CORES) --dist loadgroup -rs

pdf: $(STAMP)
	@$(RUN)scarafm pdf

lint: $(STAMP)
	@$(RUN)ruff check .

bench: $(STAMP)
	@for file in benchmarks/bench_*.py; do $(RUN)python $$file || exit 1; done

serve: $(STAMP)
	@echo "http://127.0.0.1:$(PORT)/  (Ctrl-C stops)"; $(RUN)python -m http.server --bind 127.0.0.1 --directory _build/html $(PORT)

screenshots: $(STAMP)
	@$(RUN)python scripts/screenshots.py

lock:
	@sh scripts/lock.sh

clean:
	rm -rf _build book/executed artifacts .snakemake
