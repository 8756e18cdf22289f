.PHONY: setup demo dev test lint audit bench fuzz lock

# Install what is missing for the tests, or for what is named: make setup NEEDS="lint unit"
setup:
	@scripts/setup $(NEEDS)

# Tell the life of one name step by step, on real servers, and leave nothing behind.
demo:
	@scripts/setup demo
	@.venv/bin/pdm demo

# Keep everything running on this machine until Ctrl-C, with its data kept between starts.
dev:
	@scripts/setup dev
	@.venv/bin/pdm dev

# All tests, on real servers, several at a time; or some: make test TESTS=tests/unit
TESTS = tests
test: setup
	.venv/bin/python -m pytest --numprocesses auto $(TESTS)

# Style, types and import directions.
lint:
	@scripts/setup lint
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/lint-imports

# Ask whether a locked package has a known vulnerability; where nobody can be asked, say so.
audit:
	@scripts/setup lint
	@.venv/bin/python scripts/audit

# Measure.
bench:
	@scripts/setup bench
	.venv/bin/python -m bench

# Look for bytes that hurt, for half an hour: make fuzz MINUTES=5
MINUTES = 30
fuzz:
	@scripts/setup fuzz
	.venv/bin/python -m fuzz --minutes $(MINUTES)

# Lock the versions anew.
COMPILE = .venv/bin/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header
lock:
	@scripts/setup lock
	$(COMPILE) pyproject.toml --extra server -o requirements.lock
	$(COMPILE) pyproject.toml --extra server --group dev -c requirements.lock -o requirements-dev.lock
	$(COMPILE) pyproject.toml --extra server --group stack -c requirements-dev.lock -o requirements-stack.lock
	$(COMPILE) --group image -c requirements-dev.lock -o requirements-image.lock
	$(COMPILE) --group fuzz -o requirements-fuzz.lock
