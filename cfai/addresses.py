"""Addresses of servers that answer for a model: what is one, and what of it may be shown."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit

__all__ = ["check_upstream_url", "shown_url"]

_ENDPOINTS = ("/chat/completions", "/completions", "/embeddings", "/models", "/responses")


def check_upstream_url(text: str) -> str:
    """The address of a server's OpenAI endpoints, as it is used; a ValueError says what is wrong with `text`.

    ```python
    check_upstream_url("http://127.0.0.1:11434")  # 'http://127.0.0.1:11434/v1'
    ```

    An address without a path gets `/v1`, where all such servers have them; a path to an endpoint loses its end.
    """
    try:
        parts = urlsplit(text.strip())
        is_server = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, or half an IPv6 address
        is_server = False
    shown = shown_url(text)
    if not is_server:
        raise ValueError(f"{shown!r} is no URL of an OpenAI-compatible server, such as http://127.0.0.1:8000/v1")
    if parts.query or parts.fragment:
        raise ValueError(f"{shown!r} is followed by a query or a fragment, and only the address is expected")
    path = parts.path.rstrip("/")
    for endpoint in _ENDPOINTS:
        path = path.removesuffix(endpoint)
    return urlunsplit((parts.scheme, parts.netloc, path or "/v1", "", ""))


def shown_url(url: str) -> str:
    """The address without what may be secret in it: a user, a password, a query."""
    before, at, behind = url.rpartition("@")
    if at:
        scheme, slashes, _ = before.partition("://")
        url = f"{scheme}{slashes}{behind}" if slashes else behind
    return url.partition("?")[0]
