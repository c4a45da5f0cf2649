"""`import asgi`, as a Python Worker sees it: `workers.asgi` under its first name."""

import sys

from workers import asgi

sys.modules[__name__] = asgi
