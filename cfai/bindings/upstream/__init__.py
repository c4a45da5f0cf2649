"""Engines of others: any OpenAI-compatible server, or Cloudflare itself, behind the checks and forms of Workers AI.

    a call -> checks -> server -> parts -> the shape that the call asks for

binding     UpstreamBinding: a call in, a reply out
request     a checked request -> the body of chat/completions or completions
connection  the pool of connections, and what can go wrong with them
reading     the task that reads one answer, ahead of whoever takes its parts
chunks      what the server streams -> parts of an answer
answer      parts -> events, or one JSON object
refusals    what the server refuses -> the error that Workers AI has for it
embeddings  vectors of texts
cloudflare  Cloudflare itself, asked once a call is known to be right
settled     what the user's settings describe -> the binding
"""

from typing import TYPE_CHECKING

from cfai.lazy import lazy

if TYPE_CHECKING:
    from cfai.bindings.upstream.binding import UpstreamBinding
    from cfai.bindings.upstream.settled import upstream_binding

__all__ = ["UpstreamBinding", "upstream_binding"]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "UpstreamBinding": "cfai.bindings.upstream.binding",
        "upstream_binding": "cfai.bindings.upstream.settled",
    },
)
