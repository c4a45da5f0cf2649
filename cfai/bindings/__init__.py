"""What answers AI requests: a model in this process, a server over HTTP, a script."""

from cfai.bindings.fake import FakeBinding
from cfai.bindings.http import HttpBinding
from cfai.bindings.local import LocalBinding

__all__ = ["FakeBinding", "HttpBinding", "LocalBinding"]
