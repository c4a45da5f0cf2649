"""`pyodide.http`: asking the network from Python."""

from cfai.worker.pyfetch import AbortError, BodyUsedError, FetchResponse, HttpStatusError, pyfetch

__all__ = ["AbortError", "BodyUsedError", "FetchResponse", "HttpStatusError", "pyfetch"]
