"""`import pyodide`, as a Python Worker sees it."""

# The release that the runtime of 2025-09-29 carries; scripts and libraries read it.
__version__ = "0.28.2"
