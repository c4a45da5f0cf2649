"""Names of JavaScript and Python of which a check has something to say."""

from __future__ import annotations

__all__ = ["COMPILED", "JS_CLASSES", "OF_REQUESTS", "RANDOM", "THREADS", "URL_PARTS"]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


JS_CLASSES = _words(
    """
    AbortController Blob File FixedLengthStream FormData HTMLRewriter Headers Map Promise ReadableStream Request
    Response Set TextDecoder TextEncoder TransformStream URL URLSearchParams Uint8Array WebSocket WebSocketPair
    WritableStream
    """
)
"""Classes that are constructed with `new` and cannot be called."""

URL_PARTS = _words("hash host hostname href origin password pathname port protocol search searchParams username")

RANDOM = _words(
    """
    os.urandom uuid.uuid1 uuid.uuid4 secrets.choice secrets.randbelow secrets.randbits secrets.token_bytes
    secrets.token_hex secrets.token_urlsafe random.betavariate random.choice random.choices random.gauss
    random.getrandbits random.randbytes random.randint random.random random.randrange random.sample random.shuffle
    random.uniform
    """
)
OF_REQUESTS = _words("js.crypto.getRandomValues js.crypto.randomUUID js.fetch js.setInterval workers.fetch")
"""What JavaScript does for a request only."""

COMPILED = _words(
    """
    confluent-kafka gevent greenlet grpcio mysqlclient onnxruntime polars psycopg psycopg2 psycopg2-binary pyarrow
    sentencepiece tensorflow tokenizers torch torchaudio torchvision triton uvloop vllm
    """
)
"""Packages that are compiled code and nothing else, for those that are not installed here."""

THREADS = {
    "threading.Thread": "RuntimeError: can't start new thread",
    "threading.Timer": "RuntimeError: can't start new thread",
    "concurrent.futures.ThreadPoolExecutor": "RuntimeError: can't start new thread",
    "concurrent.futures.ProcessPoolExecutor": "Pyodide has no processes",
    "multiprocessing.Process": "Pyodide has no processes",
    "multiprocessing.Pool": "Pyodide has no processes",
    "subprocess.run": "Pyodide has no processes",
    "subprocess.Popen": "Pyodide has no processes",
    "subprocess.call": "Pyodide has no processes",
    "subprocess.check_call": "Pyodide has no processes",
    "subprocess.check_output": "Pyodide has no processes",
    "os.system": "Pyodide has no processes",
    "os.popen": "Pyodide has no processes",
    "os.fork": "Pyodide has no processes",
}
