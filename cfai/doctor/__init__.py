"""Reads a Worker project, runs none of it, and says what would break on Cloudflare or here.

sources   the script and the modules of its own that it imports
handlers  the entrypoints that its date calls
idioms    what its date refuses
models    the ids it names
imports   what Pyodide lacks; pyodide.json, made by pyodide_packages, says what that is
project   the whole, with what is wrong about the config
machine   this computer
"""

from cfai.doctor.findings import Finding
from cfai.doctor.project import examine

__all__ = ["Finding", "examine"]
