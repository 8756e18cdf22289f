.PHONY: setup demo dev test lint bench lock

# Install what is missing: .venv, and the servers that demo, dev and the tests start.
setup:
	@scripts/setup

# Tell the life of one name step by step, on real servers, and leave nothing behind.
demo: setup
	@.venv/bin/pdm demo

# Keep everything running on this machine until Ctrl-C, with its data kept between starts.
dev: setup
	@.venv/bin/pdm dev

# All tests, on real servers, several at a time; or some: make test TESTS=tests/unit
TESTS = tests
test: setup
	.venv/bin/python -m pytest --numprocesses auto $(TESTS)

# Style, types and import directions.
lint: setup
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/lint-imports

# Measure.
bench:
	@scripts/setup bench
	.venv/bin/python -m bench

# Lock the versions anew.
lock: setup
	.venv/bin/uv pip compile -q pyproject.toml --extra server --universal --python-version 3.11 --generate-hashes --no-header -o requirements.lock
	.venv/bin/uv pip compile -q pyproject.toml --extra server --universal --python-version 3.11 --generate-hashes --no-header --group dev -c requirements.lock -o requirements-dev.lock
	.venv/bin/uv pip compile -q --group image --universal --python-version 3.11 --generate-hashes --no-header -c requirements-dev.lock -o requirements-image.lock
