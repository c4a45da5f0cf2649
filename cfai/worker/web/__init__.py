"""The web's own classes, as Python sees them through `js`: one set, under every face that a script may import.

values     objects, arrays, bytes, errors, to_js, Object, Array, JSON
headers, urls, streams, messages     the Fetch and URL standards
platform   console, crypto, timers, text codecs, AbortController
"""
