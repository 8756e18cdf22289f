"""A provider's words in a sentence for the customer: harmless ones alone."""

import pytest

from adapters.quoted import quoted

CREDENTIAL = "appkey01:s3cretSecret:consumer"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The server ns1.pool.test gives no answer (SOA)", ': "The server ns1.pool.test gives no answer (SOA)"'),
        ("  two\n lines ", ': "two lines"'), ("", ""), ("   ", ""), (None, ""), (7, ""), (["x"], ""), ("x" * 200, ""),
        ("odd <b>page</b>", ""), ("odd \x1b[31m", ""), ("ünlesbar", ""), ("see https://a.test/?key=1", ""),
        ("the key s3cretsecret is odd", ""), ("APPKEY01", ""), ("a consumer-key", ""),
        ("token Zm9vYmFyMTIzNDU2Nzg5", ""), ("token abcdefghijklmnopqrstuvwxyz", ""), ("k_0123456789abcdef", ""),
    ],
)  # fmt: skip
def test_quoted(text: object, expected: str) -> None:
    """Plain words are quoted, on one line; what may hold a credential, markup or a page is left out whole."""
    assert quoted(text, CREDENTIAL) == expected
