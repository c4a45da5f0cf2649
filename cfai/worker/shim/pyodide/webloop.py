"""`pyodide.webloop`: a Worker runs on asyncio's own loop, and this is a name for it."""

import asyncio

__all__ = ["WebLoop"]


class WebLoop(asyncio.SelectorEventLoop):
    """What scripts may patch without touching asyncio."""
