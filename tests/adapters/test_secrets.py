"""Our own adapters in the suite that everybody's adapters run through: adapters/conformance/test_secrets.py."""

from adapters.conformance.test_secrets import *  # noqa: F403
