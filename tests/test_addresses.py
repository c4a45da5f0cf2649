"""Addresses of servers: what is one, and what of it may be shown."""

from __future__ import annotations

import pytest

from cfai.addresses import check_upstream_url, shown_url


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("http://127.0.0.1:11434", "http://127.0.0.1:11434/v1"),
        ("http://127.0.0.1:8000/v1/", "http://127.0.0.1:8000/v1"),
        ("http://localhost:8000/v1/chat/completions", "http://localhost:8000/v1"),
        ("https://example.com/openai/v1/embeddings", "https://example.com/openai/v1"),
        ("http://[::1]:8080", "http://[::1]:8080/v1"),
        (" http://127.0.0.1:1 ", "http://127.0.0.1:1/v1"),
        ("http://user:pass@127.0.0.1:8000/v1", "http://user:pass@127.0.0.1:8000/v1"),
    ],
)
def test_the_address_of_the_endpoints(given: str, used: str) -> None:
    assert check_upstream_url(given) == used


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ("127.0.0.1:8000", "no URL"),
        ("ftp://x", "no URL"),
        ("http://", "no URL"),
        ("http://[::1", "no URL"),
        ("http://x:port", "no URL"),
        ("http://x:0", "no URL"),
        ("http://x/v1?key=s3cret", "a query"),
        ("http://x/v1#top", "a query or a fragment"),
    ],
)
def test_what_is_no_address(given: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem) as caught:
        check_upstream_url(given)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://user:pass@x/v1", "http://user:p@ss@x/v1", "http://x/v1?token=pass"])
def test_what_is_shown_has_nothing_secret(url: str) -> None:
    assert shown_url(url) == "http://x/v1"
