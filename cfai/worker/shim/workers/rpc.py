"""`import workers.rpc`: what scripts and tests reach for in Cloudflare's module of that name."""

from cfai.worker.bindings.fetcher import FetcherWrapper as _FetcherWrapper
from cfai.worker.bindings.javascript import BindingObject as _BindingWrapper
from cfai.worker.env import WrappedEnv as _EnvWrapper
from cfai.worker.sdk import python_from_rpc, python_to_rpc

__all__ = ["_BindingWrapper", "_EnvWrapper", "_FetcherWrapper", "_RpcStubWrapper", "python_from_rpc", "python_to_rpc"]


class _RpcStubWrapper(_BindingWrapper):
    """A function of another Worker. There is none here."""
