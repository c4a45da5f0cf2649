"""`import workers.rpc`: what scripts and tests reach for in Cloudflare's module of that name."""

from cfai.worker.bindings.fetcher import Fetcher as _FetcherWrapper
from cfai.worker.sdk import python_from_rpc, python_to_rpc

__all__ = ["_FetcherWrapper", "python_from_rpc", "python_to_rpc"]
