"""The error that each code stands for, as a call of any model would meet it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from cfai.binding import Call
from cfai.errors import (
    AiError,
    BadInput,
    ContextExceeded,
    DailyLimit,
    DeprecatedModel,
    EngineFailure,
    FinetuneMissing,
    Forbidden,
    IncompleteRequest,
    InvalidData,
    InvalidModelName,
    LoraIncompatible,
    LoraUnsupported,
    MethodNotAllowed,
    NoRoute,
    NoSuchModel,
    OutOfCapacity,
    RateLimited,
    RequestAborted,
    RequestTimeout,
    RequestTooLarge,
    StreamGone,
    Unauthorized,
    WeightsMissing,
)

__all__ = ["REFUSALS"]

REFUSALS: Mapping[int, Callable[[Call], AiError]] = {
    3003: lambda call: IncompleteRequest("body"),
    3006: lambda call: RequestTooLarge(),
    3007: lambda call: RequestTimeout(),
    3008: lambda call: RequestAborted(),
    3021: lambda call: RateLimited(),
    3030: lambda call: LoraIncompatible(),
    3036: lambda call: DailyLimit(),
    3037: lambda call: FinetuneMissing(str(call.inputs.get("lora", "my-lora"))),
    # The sentence of https://developers.cloudflare.com/workers-ai/platform/errors/
    3039: lambda call: WeightsMissing("Finetune is missing required files (model.safetensors and config.json)"),
    3040: lambda call: OutOfCapacity(),
    3042: lambda call: InvalidModelName(call.model),
    5004: lambda call: InvalidData("string"),
    5005: lambda call: LoraUnsupported(call.model),
    # What npm's @cloudflare/cabidela says of `{}` as the inputs of a text generation.
    5006: lambda call: BadInput(
        "oneOf at '/' not met, 0 matches: required properties at '/' are 'prompt', required properties at '/' are "
        "'messages'"
    ),
    5007: lambda call: NoSuchModel(call.model, hint=""),
    5018: lambda call: Forbidden(),
    5021: lambda call: ContextExceeded(8448, 8192),
    # The day of the last great removal, https://developers.cloudflare.com/workers-ai/changelog/
    5028: lambda call: DeprecatedModel("2026-05-30"),
    7001: lambda call: MethodNotAllowed("POST"),
    7003: lambda call: NoRoute(f"/ai/run/{call.model}"),
    8500: lambda call: EngineFailure("the model failed"),
    8501: lambda call: StreamGone("This stream cannot be continued"),
    10000: lambda call: Unauthorized(),
}
"""By code; every code of `cfai.errors` has its row."""
