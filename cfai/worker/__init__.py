"""Runs a Python Worker on CPython.

loader     imports the script, with the shim first on the import path
dispatch   which of its functions answers
env, ctx   what it is given
app        the ASGI app around it
client     asks it without a socket
web        the web's classes; sdk, shim: the modules that a script imports
"""

from cfai.worker.app import WorkerApp, worker_app
from cfai.worker.client import worker_client
from cfai.worker.loader import ScriptError, import_path

__all__ = ["ScriptError", "WorkerApp", "import_path", "worker_app", "worker_client"]
