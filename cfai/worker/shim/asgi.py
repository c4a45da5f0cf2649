"""`import asgi`, as a Python Worker sees it."""

from cfai.worker.asgi import env, fetch

__all__ = ["env", "fetch"]
