"""The ASGI applications over a binding."""
