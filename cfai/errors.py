"""Everything that can go wrong, with the code, HTTP status and wording that Workers AI gives it.

    AiError
    ├── InvalidRequest
    │   ├── BadInput             5006  400   the inputs do not fit the model's schema
    │   ├── InvalidData          5004  400   base64 or binary data of the wrong type
    │   ├── IncompleteRequest    3003  400   a body or header is missing or cannot be read
    │   ├── NoSuchModel          5007  400
    │   ├── InvalidModelName     3042  404
    │   ├── DeprecatedModel      5028  400
    │   ├── WeightsMissing       3039  400   the catalog knows the model, this machine has no weights for it
    │   ├── LoraUnsupported      5005  405   the model takes no adapters
    │   ├── LoraIncompatible     3030  400   it takes some, not this one
    │   ├── FinetuneMissing      3037  404
    │   ├── RequestTooLarge      3006  413
    │   ├── StreamGone           8501  410   a stream cannot be continued; the code is cfai's own
    │   └── ContextExceeded      5021  413   prompt and max_tokens together do not fit the model
    ├── AccessDenied
    │   ├── Unauthorized        10000  401
    │   └── Forbidden            5018  403
    ├── Unavailable
    │   ├── RequestTimeout       3007  408
    │   ├── RequestAborted       3008  408
    │   ├── DailyLimit           3036  429
    │   ├── RateLimited          3021  429
    │   └── OutOfCapacity        3040  429   the queue is full
    ├── RouteError
    │   ├── NoRoute              7003  404
    │   └── MethodNotAllowed     7001  405
    └── EngineFailure            8500  500   the model itself failed; the code is cfai's own
        ├── NotEnoughMemory      8500  500   a model does not fit into the memory there is for it
        └── ConnectionDropped    8500  500   the answer broke off, and nothing came to say so

Codes and statuses follow https://developers.cloudflare.com/workers-ai/platform/errors/ where that page has them;
5006, 5021, 5028, 3021, 3030, 3037, 4006, 10000, 7001 and 7003 are as seen on the wire.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, ClassVar, Self

__all__ = [
    "AccessDenied",
    "AiError",
    "BadInput",
    "ConnectionDropped",
    "ContextExceeded",
    "DailyLimit",
    "DeprecatedModel",
    "EngineFailure",
    "FinetuneMissing",
    "Forbidden",
    "IncompleteRequest",
    "InvalidData",
    "InvalidModelName",
    "InvalidRequest",
    "LoraIncompatible",
    "LoraUnsupported",
    "MethodNotAllowed",
    "NoRoute",
    "NoSuchModel",
    "NotEnoughMemory",
    "OutOfCapacity",
    "RateLimited",
    "RequestAborted",
    "RequestTimeout",
    "RequestTooLarge",
    "RouteError",
    "StreamGone",
    "Unauthorized",
    "Unavailable",
    "WeightsMissing",
]


class AiError(Exception):
    """A request that Workers AI, or cfai in its place, refused or could not finish.

    ```python
    try:
        await ai.run("@cf/x/y", {"prompt": "hi"})
    except cfai.AiError as error:
        print(error.code, error.status, error)  # 5007 400 5007: No such model @cf/x/y or task
    ```

    `str(error)` is what the JavaScript binding puts into `error.message`: the code, a colon, the description.
    """

    code: int = 8500
    status: int = 500
    title: ClassVar[str] = ""
    """What stands between `AiError:` and the description in the REST API's message, when anything does."""

    _by_code: ClassVar[dict[int, type[AiError]]] = {}

    also_known_as: ClassVar[tuple[int, ...]] = ()
    """Other codes of the same."""

    def __init_subclass__(cls) -> None:
        if "code" in cls.__dict__:
            AiError._by_code |= dict.fromkeys((cls.code, *cls.also_known_as), cls)

    def __init__(self, description: str, *, hint: str = "") -> None:
        self.description = description
        self.name = "AiError"
        """The `name` that a JavaScript caller sees."""
        self.hint = hint
        """What to do next, in one sentence; not part of Cloudflare's wording, so it travels beside it."""
        super().__init__(description)
        if hint:
            self.add_note(hint)

    def __str__(self) -> str:
        return f"{self.code}: {self.description}"

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (self.to_body(), self.status)

    def rest_message(self, request_id: str) -> str:
        """The message of the REST API: `AiError: <title>: <description> (<request id>)`."""
        title = f"{self.title}: " if self.title else ""
        return f"{self.name}: {title}{self.description} ({request_id})"

    def to_body(self) -> dict[str, Any]:
        """The JSON body with which the inference service answers the binding."""
        title = f"{self.title}: " if self.title else ""
        body: dict[str, Any] = {
            "internalCode": self.code,
            "httpCode": self.status,
            "name": self.name,
            "message": f"{self.name}: {title}{self.description}",
            "description": self.description,
        }
        if self.hint:
            body["hint"] = self.hint
        return body

    def to_event(self) -> dict[str, Any]:
        """The last event of a stream that failed after its first piece."""
        return {"response": "", "errors": [{"code": self.code, "message": str(self.description)}]}

    def to_openai(self) -> dict[str, Any]:
        """The same in the form of OpenAI's endpoints: their SDKs read `error`, Cloudflare's and ours `errors`."""
        message = f"{self.description} ({self.hint})" if self.hint else str(self.description)
        kind = _OPENAI_TYPES.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")
        return {
            "error": {
                "message": message,
                "type": kind,
                "code": _OPENAI_CODES.get(self.code, str(self.code)),
                "param": self._parameter,
            },
            "errors": [{"code": self.code, "message": str(self.description)}],
        }

    @property
    def _parameter(self) -> str | None:
        """The field of the request that the description points at, if it does: `messages.0.role`."""
        pointed = re.search(r"'/([^' ]+)'", self.description)
        return pointed[1].replace("/", ".") if pointed else None

    @classmethod
    def of(
        cls, code: int, description: str, *, status: int | None = None, name: str = "AiError", hint: str = ""
    ) -> Self:
        """The error class that owns `code`, or a plain `AiError` where none does."""
        kind = cls._by_code.get(code, AiError)
        error = kind.__new__(kind)
        AiError.__init__(error, description, hint=hint)
        error.code, error.name = code, name
        if status is not None:
            error.status = status
        return error  # type: ignore[return-value]  # every class in the table derives from AiError

    @classmethod
    def from_body(cls, body: object, status: int | None) -> AiError:
        """Read any of the error bodies that the service, the REST API or a stream's last event carries.

        `status` is the HTTP status that came with it, None for an event inside a stream.
        """
        if isinstance(body, Mapping):
            if "internalCode" in body:
                description = str(body.get("description") or body.get("message") or "")
                return AiError.of(
                    _as_code(body["internalCode"]),
                    description,
                    status=status,
                    name=str(body.get("name") or "AiError"),
                    hint=str(body.get("hint") or ""),
                )
            errors = body.get("errors")
            first = errors[0] if isinstance(errors, list) and errors else errors
            if isinstance(first, Mapping) and "code" in first:
                notes = [note for note in body.get("messages") or () if isinstance(note, Mapping)]
                hint = str(notes[0].get("message") or "") if notes else ""
                code, message = _as_code(first["code"]), str(first.get("message") or "")
                return AiError.of(code, message, status=status, name="InferenceUpstreamError", hint=hint)
        return AiError.of(EngineFailure.code, str(body), status=status, name="InferenceUpstreamError")


_OPENAI_TYPES = {401: "authentication_error", 403: "permission_error", 408: "server_error", 429: "rate_limit_error"}
"""https://platform.openai.com/docs/guides/error-codes, by HTTP status where it is not that of all others."""


_OPENAI_CODES = {
    3021: "rate_limit_exceeded",
    3036: "insufficient_quota",
    4006: "insufficient_quota",
    3040: "rate_limit_exceeded",
    3042: "model_not_found",
    5007: "model_not_found",
    5021: "context_length_exceeded",
    10000: "invalid_api_key",
}
"""Their word, where programs look for it; elsewhere the code is the number."""


def _as_code(value: object) -> int:
    return value if isinstance(value, int) else EngineFailure.code


def _restore(body: dict[str, Any], status: int) -> AiError:
    return AiError.from_body(body, status)


class InvalidRequest(AiError):
    """The request itself is at fault; sending it again changes nothing."""

    status = 400


class BadInput(InvalidRequest):
    """The inputs do not fit the model's schema. `description` is `Error: ` and the validator's sentence."""

    code, status, title = 5006, 400, "Bad input"

    def __init__(self, problem: str, *, hint: str = "") -> None:
        super().__init__(f"Error: {problem}", hint=hint)


class InvalidData(InvalidRequest):
    code, status = 5004, 400

    def __init__(self, kind: str, *, hint: str = "") -> None:
        super().__init__(f"Invalid data type for base64 input: {kind}", hint=hint)


class IncompleteRequest(InvalidRequest):
    code, status = 3003, 400

    def __init__(self, what: str, *, hint: str = "") -> None:
        super().__init__(f"Request is missing headers or body: {what}", hint=hint)


class NoSuchModel(InvalidRequest):
    """The catalog has no model of that name, or not for a task that runs here."""

    code, status = 5007, 400

    see_list: ClassVar[str] = "`cfai models` lists the ids, `cfai models --here` what runs here"

    def __init__(self, model: str, *, hint: str = see_list) -> None:
        super().__init__(f"No such model {model} or task", hint=hint)
        self.model = model


class InvalidModelName(InvalidRequest):
    code, status = 3042, 404

    def __init__(self, model: str) -> None:
        super().__init__(
            f"The model name is invalid: {model!r}", hint="ids look like @cfai/demo/tiny-chat, the demo model"
        )


class DeprecatedModel(InvalidRequest):
    """Cloudflare no longer serves the model."""

    code, status, title = 5028, 400, "Model has been deprecated"

    def __init__(self, date: str, *, hint: str = "") -> None:
        super().__init__(f"This model was deprecated on {date}. Please use an alternative model.", hint=hint)


class WeightsMissing(InvalidRequest):
    """The catalog knows the model, but its weights are not on this machine."""

    code, status = 3039, 400


class LoraUnsupported(InvalidRequest):
    code, status = 5005, 405

    def __init__(self, model: str) -> None:
        super().__init__(f"The model {model} does not support LoRa inference")


class LoraIncompatible(InvalidRequest):
    """The model takes adapters, but this one was made for another model, or is none that runs here."""

    code, status = 3030, 400

    def __init__(self, hint: str = "") -> None:
        super().__init__("Lora not compatible with model", hint=hint)


class FinetuneMissing(InvalidRequest):
    """No adapter has this name or id. As in https://github.com/cloudflare/cloudflare-docs/issues/23272."""

    code, status = 3037, 404

    def __init__(self, name: str, *, hint: str = "") -> None:
        super().__init__(f"Finetune {name} not found", hint=hint)


class RequestTooLarge(InvalidRequest):
    code, status = 3006, 413

    def __init__(self, hint: str = "") -> None:
        super().__init__("Request is too large", hint=hint)


class StreamGone(InvalidRequest):
    """A stream that the caller wants to continue is not kept, or no longer. The code is cfai's own."""

    code, status = 8501, 410


class ContextExceeded(InvalidRequest):
    """The prompt and `max_tokens` together, both in tokens, do not fit the model's limits."""

    code, status = 5021, 413

    def __init__(self, tokens: int, limit: int, *, hint: str = "") -> None:
        super().__init__(
            f"The estimated number of input and maximum output tokens ({tokens}) exceeded this model context window "
            f"limit ({limit}).",
            hint=hint,
        )

    @classmethod
    def by_engine(cls, prompt_tokens: int, max_tokens: int, limit: int, *, hint: str = "") -> ContextExceeded:
        """The same as the engines of the newer chat models tell it: 8007, with their JSON as the description.

        Seen in 2026 from kimi-k2.6 and glm-5.2 (https://github.com/anomalyco/models.dev/pull/4422).
        """
        total = prompt_tokens + max_tokens
        told = {
            "object": "error",
            "message": f"Requested token count exceeds the model's maximum context length of {limit} tokens. You "
            f"requested a total of {total} tokens: {prompt_tokens} tokens from the input messages and {max_tokens} "
            "tokens for the completion. Please reduce the number of tokens in the input messages or the completion "
            "to fit within the limit.",
            "type": "BadRequestError",
            "param": None,
            "code": 400,
        }
        error = cls(total, limit, hint=hint)
        error.code, error.status = 8007, 400
        error.description = json.dumps(told, separators=(",", ":"))
        return error


class AccessDenied(AiError):
    """The caller may not do this."""

    status = 403


class Unauthorized(AccessDenied):
    code, status = 10000, 401

    def __init__(self) -> None:
        super().__init__("Authentication error")


class Forbidden(AccessDenied):
    code, status = 5018, 403

    def __init__(self, description: str = "The account is not allowed to access this model", *, hint: str = "") -> None:
        super().__init__(description, hint=hint)


class Unavailable(AiError):
    """Nothing is wrong with the request; it may succeed later."""

    status = 429


class RequestTimeout(Unavailable):
    code, status = 3007, 408

    def __init__(self) -> None:
        super().__init__("Request timeout")


class RequestAborted(Unavailable):
    code, status = 3008, 408

    def __init__(self) -> None:
        super().__init__("Request was aborted")


class DailyLimit(Unavailable):
    """The day's free neurons are used up. 3036 is the code of the documentation; the wire has 4006 in 2026."""

    code, status = 3036, 429
    also_known_as = (4006,)

    def __init__(self, *, hint: str = "") -> None:
        super().__init__("You have used up your daily free allocation of 10,000 neurons", hint=hint)

    @classmethod
    def on_the_wire(cls, *, hint: str = "") -> DailyLimit:
        """The same with the code and in the words that Workers AI sends."""
        return cls.of(
            4006,
            "you have used up your daily free allocation of 10,000 neurons, please upgrade to Cloudflare's Workers "
            "Paid plan if you would like to continue usage.",
            status=cls.status,
            hint=hint,
        )


class RateLimited(Unavailable):
    code, status = 3021, 429

    def __init__(self, *, hint: str = "") -> None:
        super().__init__("rate limiting: inference request per min rate reached", hint=hint)


class OutOfCapacity(Unavailable):
    """The bounded queue in front of a model is full."""

    code, status = 3040, 429

    def __init__(self, hint: str = "") -> None:
        super().__init__("Capacity temporarily exceeded, please try again.", hint=hint)


class RouteError(AiError):
    """The REST API has no such address or method."""

    status = 404


class NoRoute(RouteError):
    code, status = 7003, 404

    def __init__(self, path: str) -> None:
        super().__init__(f"Could not route to {path}, perhaps your object identifier is invalid?")


class MethodNotAllowed(RouteError):
    code, status = 7001, 405

    def __init__(self, method: str) -> None:
        super().__init__(f"{method} not supported for requested URI.")


class EngineFailure(AiError):
    """The model failed while loading or running. The code is cfai's own: Cloudflare documents none."""

    code, status = 8500, 500


class NotEnoughMemory(EngineFailure):
    """A model does not fit into the memory that there is for it."""


class ConnectionDropped(EngineFailure):
    """The connection to whoever answers broke off, and no event says so. A server cuts its own in turn."""

    def __init__(self, description: str = "Network connection lost.", *, hint: str = "") -> None:
        # workerd says this to a Worker whose connection breaks off (src/workerd/jsg/util.c++).
        super().__init__(description, hint=hint)
