# The commands of the project. `make run` and `make test` need nothing but Python 3.11, make and git.
PYTHON ?= python3
PIP = .venv/bin/python -m pip --disable-pip-version-check install --quiet

.PHONY: run test test-clients web check-web bench chaos check schema format lock clean

run: .venv/run.stamp ## Start everything on this machine: database, offline model, server
	@exec .venv/bin/python -m server dev

test: .venv/dev.stamp ## All tests, on a real PostgreSQL
	.venv/bin/python -m pytest -n 3 --dist loadfile

test-clients: .venv/dev.stamp tests/clients/node_modules tests/browser/node_modules examples/node_modules web/node_modules ## Clients, pages and examples, in Node and in a browser, against real servers (needs Node 20)
	cd tests/clients && npm test
	cd web && npm test
	cd examples && npm run check
	cd tests/browser && CHROMIUM=$$(./chromium.sh) && export CHROMIUM && npm test

web: web/node_modules ## Build the pages into web/dist (needs Node 20); it is committed, so that `make run` does without Node
	cd web && npm run build

check-web: web ## The committed web/dist is what its source builds
	@git diff --exit-code --stat -- web/dist && test -z "$$(git ls-files --others --exclude-standard -- web/dist)" || { \
		git ls-files --others --exclude-standard -- web/dist; \
		echo "web/dist is not what its source builds: run \`make web\` and commit web/dist." >&2; exit 1; }

%/node_modules: %/package-lock.json
	cd $(@D) && npm ci
	@touch $@

bench: .venv/dev.stamp ## What a token costs, rivals beside it: make bench BENCH="--subjects loquent --scenarios 100"
	.venv/bin/python -m benchmarks $(BENCH)

SECONDS ?= 300
SEED ?= 7
chaos: .venv/dev.stamp ## Nodes, Valkey and PostgreSQL fail at random; nothing may be lost: make chaos SECONDS=300 SEED=7
	.venv/bin/python -m tests.acceptance.chaos --seconds $(SECONDS) --seed $(SEED)

check: .venv/dev.stamp ## Style, types, floor plan, contract
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports
	.venv/bin/python -m server schema | diff -u schema.graphql -

schema: .venv/run.stamp ## Print the contract from the code
	.venv/bin/python -m server schema > schema.graphql.new && mv schema.graphql.new schema.graphql

format: .venv/dev.stamp
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

# Pins every dependency with its hashes; `--upgrade` by `make lock UPGRADE=--upgrade`.
COMPILE = .venv/bin/uv pip compile --quiet --universal --generate-hashes --no-header --no-emit-index-url $(UPGRADE)
lock: .venv/dev.stamp
	$(PIP) uv
	$(COMPILE) --extra development pyproject.toml -o requirements.lock
	$(COMPILE) -c requirements.lock pyproject.toml -o requirements-production.lock
	$(COMPILE) -c requirements.lock --extra development --extra test pyproject.toml -o requirements-dev.lock

clean:
	rm -rf .venv .loquent

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/run.stamp: requirements.lock pyproject.toml | .venv/bin/python
	$(PIP) --require-hashes -r requirements.lock
	$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

.venv/dev.stamp: requirements-dev.lock .venv/run.stamp
	$(PIP) --require-hashes -r requirements-dev.lock
	@touch $@
