"""Engines of others: any OpenAI-compatible server, or Cloudflare itself, behind the checks and forms of Workers AI.

binding     UpstreamBinding: a call in, a reply out
request     a checked request -> the body of chat/completions or completions
connection  the pool of connections, and what can go wrong with them
reading     the task that reads one answer, ahead of whoever takes its parts
chunks      what the server streams -> parts of an answer
answer      parts -> events, or one JSON object
refusals    what the server refuses -> the error that Workers AI has for it
embeddings  vectors of texts
"""

from typing import TYPE_CHECKING

from cfai.lazy import lazy

if TYPE_CHECKING:
    from cfai.bindings.upstream.binding import UpstreamBinding
    from cfai.bindings.upstream.connection import check_upstream_url

__all__ = ["UpstreamBinding", "check_upstream_url"]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "UpstreamBinding": "cfai.bindings.upstream.binding",
        "check_upstream_url": "cfai.bindings.upstream.connection",
    },
)
