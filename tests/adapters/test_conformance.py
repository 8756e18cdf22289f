"""Our own adapters in the suite that everybody's adapters run through: adapters/conformance/test_adapter.py."""

from adapters.conformance.test_adapter import *  # noqa: F403
