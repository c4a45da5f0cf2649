"""Text generation: what a request may ask, and how its answer looks.

    inputs of a call -> check -> TextGeneration -> the engine -> parts -> events, or one JSON object

A call comes in one of four forms, and each has its schema (`schemas/`), its fields and the shape of its answer, one
row of the table below. Calls of the native form, through `run`, have the form of the model's family:

    classic    a `prompt` or `messages` of Workers AI's own form; the answer is `{"response": ...}`
    chat       the same two with OpenAI's options; the answer is a text completion or a chat completion
    responses  those two, or an `input` as OpenAI's Responses have it

The three forms of OpenAI's endpoints are answered by every model.

The schema refuses first, in Cloudflare's words. It lets through what no model can answer (an empty list of messages, a
message that is no object, NaN, half a surrogate pair), so what comes out is looked at once more, piece by piece, and
refused in the same manner of speaking.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Literal

from cfai.binding import Form
from cfai.catalog import Model, bare_form
from cfai.errors import BadInput
from cfai.tasks import fields
from cfai.tasks.messages import NO_VISION, Message, messages, messages_of_items
from cfai.tasks.response_format import answer_schema_of
from cfai.tasks.schema import Schema, validate
from cfai.tasks.schemas import schema
from cfai.tasks.tools import Tool, ToolChoice, tools_of

__all__ = [
    "Message",
    "ShapeName",
    "TextGeneration",
    "Tool",
    "check",
    "input_schema",
    "output_schema",
    "prompt_form",
    "usual_temperature",
]

GPT_OSS_MESSAGES_SINCE = date(2026, 2, 17)
"""Until then the models of the Responses family knew that form alone."""

SMALLEST_FACTOR = 0.01
SMALLEST_SHARE = 0.001
MOST_STOPS = 16
MOST_BIAS = 100

ShapeName = Literal["classic", "chat", "completion", "responses"]
"""How an answer is written: Workers AI's own `response`, or as one of the three OpenAI endpoints does."""


@dataclass(frozen=True, slots=True)
class TextGeneration:
    """Inputs that can be answered: either `prompt` or `messages`, and what was asked of the answer.

    None means that the caller did not say, also where the schema has a default, except for `temperature`, whose
    default of the classic form is filled in.
    """

    prompt: str | None = None
    messages: tuple[Message, ...] | None = None
    raw: bool = False
    stream: bool = False
    max_tokens: int | None = None
    temperature: float | None = 0.6
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    seed: int | None = None
    repetition_penalty: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    lora: str | None = None
    answer_schema: Mapping[str, Any] | None = None
    """The JSON schema that the answer must fit; None for free text."""
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice = "auto"
    forced_tool: str | None = None
    """The one tool that must be called; `tool_choice` is then "required"."""
    parallel_tool_calls: bool = True
    stop: tuple[str, ...] = ()
    n: int = 1
    logprobs: int | None = None
    """How many of the likeliest tokens to report beside each token of the answer; None reports nothing."""
    logit_bias: Mapping[int, float] | None = None
    include_usage: bool = False
    """Whether a stream of an OpenAI endpoint ends with its usage."""
    template_options: Mapping[str, Any] = field(default_factory=dict)
    """More for the chat template, such as `enable_thinking` and `reasoning_effort`."""
    echoed: Mapping[str, Any] = field(default_factory=dict)
    """What an answer of the Responses form repeats of its request."""
    shape: ShapeName = "classic"
    is_native: bool = True
    """Whether the call came through `run`, and not through one of OpenAI's endpoints."""


def check(
    inputs: Any,
    *,
    form: Form = "native",
    model: Model | None = None,
    as_of: date | None = None,
    fidelity: Literal["clean", "production"] = "clean",
    sees: bool = False,
) -> TextGeneration:
    """The inputs of one call, checked as on the day `as_of`; a `BadInput` says what is wrong with them.

    ```python
    check({"prompt": "where is new york?", "stream": True}).stream  # True
    ```

    A key whose value is None was not given. Keys that the form does not have are ignored. The fidelity "production"
    refuses what only Cloudflare has trouble with: a turn of tool calls whose `content` is null, in the classic form.
    Images for a vision model are refused, because none runs here; with `sees` they are left out of what comes back.
    """
    given = inputs
    if isinstance(inputs, Mapping):
        given = {name: value for name, value in inputs.items() if value is not None}
        # Before the schema, whose error may have a sentence for each of them.
        for name in ("messages", "tools", "functions", "input"):
            fields.check_length(given.get(name), fields.MOST_ITEMS, f"/{name}")
        if _family(form, model) != "classic":
            given = {name: _pruned(value) if name in _PRUNED else value for name, value in given.items()}
        elif fidelity == "clean":
            given = {name: _with_content(value) if name == "messages" else value for name, value in given.items()}
        if model is not None and "vision" in model.flags and "image" in given and not sees:
            raise BadInput("'/image' cannot be looked at", hint=NO_VISION)
    wanted, bodies = _forms(form, model, as_of)
    checked = validate(wanted, given)
    body = bodies[checked.option or 0]
    if body is _CLASSIC_MESSAGES:
        validate(schema("classic", "messagesSampling", as_of), given)
    # Only the form that fits counts; what belongs to another is an unknown key.
    known = {name: given[name] for name in body.keys if name in given}
    if sees and model is not None and "vision" in model.flags:
        known |= {name: _without_images(known[name]) for name in ("messages", "input") if name in known}
    fields.check_json(known)
    for name, refusal in _CANNOT.items():
        if name in known and refusal.concerns(known[name], known):
            raise BadInput(f"'/{name}' {refusal.sentence}", hint=refusal.hint)
    request = _request(known, body)
    if model is not None and model.id == LLAMA_GUARD and form == "native":
        request = _guarded(request)
    return TextGeneration(**request, shape=body.shape, is_native=form == "native")


def input_schema(model: Model | None = None, *, form: Form = "native", as_of: date | None = None) -> Schema:
    """The JSON schema of the inputs on the day `as_of`, or today's; without a model that of the classic ones."""
    return _forms(form, model, as_of)[0]


def output_schema(model: Model | None = None, *, as_of: date | None = None) -> Schema:
    """The JSON schema of what `run` answers: one object, or the text of a stream."""
    if model is not None and model.id == LLAMA_GUARD:
        return schema("llama-guard", "output", as_of)
    family = _family("native", model)
    if family == "responses":
        options = [*schema("responses", "output", as_of)["oneOf"][:1], *schema("chat", "output", as_of)["oneOf"]]
        return {"oneOf": options}
    return schema(family, "output", as_of)


def prompt_form(as_of: date | None = None) -> Literal["raw", "template"]:
    """How a bare `prompt` reaches the model: as it is, or through the chat template as a user's message."""
    return bare_form(as_of)


def usual_temperature(model: Model) -> float:
    """That of calls which name none, by every route."""
    return 0.6 if model.family == "classic" else 1.0


# The forms: which schema refuses, which keys count, how the answer looks.


@dataclass(frozen=True, slots=True)
class _Body:
    shape: ShapeName
    keys: tuple[str, ...]


_SAMPLING = (
    *("temperature", "top_p", "top_k", "seed"),
    *("repetition_penalty", "frequency_penalty", "presence_penalty"),
)
_TEMPLATE = ("reasoning_effort", "enable_thinking", "chat_template_kwargs")
_TOOLS = ("tools", "functions", "tool_choice", "function_call", "parallel_tool_calls")
_CLASSIC = (
    *("raw", "stream", "max_tokens", *_SAMPLING, "lora", "response_format"),
    # Not in the schema of the classic form, but clients send them to every model, and a model here can honour them.
    *("stop", "guided_json", *_TEMPLATE),
)
_OPENAI = (
    *("max_tokens", "max_completion_tokens", *_SAMPLING, "min_p", "stop", "n", "logit_bias"),
    *("stream", "stream_options", "logprobs", "top_logprobs", "response_format", "guided_json", "lora"),
)
_ECHOED = (
    *("instructions", "max_output_tokens", "max_tool_calls", "metadata", "parallel_tool_calls", "prompt_cache_key"),
    *("reasoning", "safety_identifier", "service_tier", "store", "temperature", "text", "top_logprobs", "top_p"),
    *("truncation", "user"),
)
_CONVERSATION = (*_OPENAI, *_TEMPLATE, *_TOOLS, "audio", "modalities", "web_search_options")
_STORED = ("background", "conversation", "previous_response_id", "prompt")

_CLASSIC_PROMPT = _Body("classic", ("prompt", *_CLASSIC))
_CLASSIC_MESSAGES = _Body("classic", ("messages", *_TOOLS, *_CLASSIC))
_PROMPT = _Body("completion", ("prompt", "raw", *_OPENAI, *_TEMPLATE))
_MESSAGES = _Body("chat", ("messages", "raw", *_CONVERSATION))
_CHAT = _Body("chat", ("messages", *_CONVERSATION))
_COMPLETION = _Body("completion", ("prompt", *_OPENAI, "best_of", "echo", "suffix"))
_RESPONSES = _Body("responses", ("input", "stream", "include", "lora", *_STORED, *_SAMPLING, *_TOOLS, *_ECHOED))

LLAMA_GUARD = "@cf/meta/llama-guard-3-8b"
"""The one model of the classic family that has a schema of its own."""


def _family(form: Form, model: Model | None) -> Literal["classic", "chat", "responses"]:
    if form == "native":
        return "classic" if model is None else model.family
    return "responses" if form == "responses" else "chat"


def _forms(form: Form, model: Model | None, as_of: date | None) -> tuple[Schema, tuple[_Body, ...]]:
    """The schema of a call, and what each of its options stands for."""
    match form:
        case "chat":
            return schema("chat", "input", as_of), (_CHAT,)
        case "completion":
            return schema("completion", "input", as_of), (_COMPLETION,)
        case "responses":
            return schema("responses", "input", as_of), (_RESPONSES,)
    if model is not None and model.id == LLAMA_GUARD:
        return schema("llama-guard", "input", as_of), (_CLASSIC_MESSAGES,)
    family = _family(form, model)
    if family == "classic":
        return schema("classic", "input", as_of), (_CLASSIC_PROMPT, _CLASSIC_MESSAGES)
    native = schema("chat", "native", as_of)
    if family == "chat":
        return native, (_PROMPT, _MESSAGES)
    if as_of is not None and as_of < GPT_OSS_MESSAGES_SINCE:
        return schema("responses", "input", as_of), (_RESPONSES,)
    responses = {"title": "Responses", **schema("responses", "input", as_of)}
    return {**native, "oneOf": [responses, *native["oneOf"]]}, (_RESPONSES, _PROMPT, _MESSAGES)


# Clients write null for what they do not say, also inside these.
_PRUNED = frozenset({"stream_options", "reasoning", "text", "response_format", "tools", "functions", "tool_choice"})


def _pruned(value: Any, depth: int = 3) -> Any:
    """The option without what is null in it: a list of tools, a tool, its function."""
    if isinstance(value, (list, tuple)) and depth:
        return [_pruned(item, depth - 1) for item in value]
    if not isinstance(value, Mapping) or not depth:
        return value
    return {
        name: _pruned(item, depth - 1) if name in ("format", "function") else item
        for name, item in value.items()
        if item is not None
    }


_IMAGES = frozenset({"image", "image_url", "input_image"})


def _without_images(turns: Any) -> Any:
    """The messages or items, their contents without the parts that are images."""
    if not isinstance(turns, (list, tuple)):
        return turns
    return [
        {**turn, "content": [part for part in turn["content"] if not _is_image(part)]}
        if isinstance(turn, Mapping) and isinstance(turn.get("content"), (list, tuple))
        else turn
        for turn in turns
    ]


def _is_image(part: Any) -> bool:
    return isinstance(part, Mapping) and part.get("type") in _IMAGES


def _with_content(value: Any) -> Any:
    """The messages, those that are nothing but tool calls with the empty content that the schema wants."""
    if not isinstance(value, (list, tuple)):
        return value
    return [
        {**message, "content": ""}
        if isinstance(message, Mapping)
        and message.get("role") == "assistant"
        and message.get("tool_calls")
        and message.get("content") is None
        else message
        for message in value
    ]


# From keys to fields.


def _request(known: Mapping[str, Any], body: _Body) -> dict[str, Any]:
    request: dict[str, Any] = {}
    if body.shape != "classic":
        request["temperature"] = None
    if body is _COMPLETION:
        # OpenAI's completions continue the text that they are given; there is no user and no turn.
        request["raw"] = True
    for name, (target, read) in _FIELDS.items():
        if name in known:
            request[target] = read(known[name], f"/{name}")
    if "messages" in known:
        request["messages"] = messages(known["messages"], "/messages")
    if "input" in known:
        if "prompt" in known:
            raise BadInput("'/prompt' names a prompt that is stored elsewhere", hint="send its text as '/input'")
        instructions = known.get("instructions")
        request["messages"] = messages_of_items(known["input"], "/input", instructions)
        request["echoed"] = {name: known[name] for name in _ECHOED if name in known}
    elif "prompt" in known:
        request["prompt"] = _prompt(known["prompt"], "/prompt")
    request["tools"], request["tool_choice"], request["forced_tool"] = tools_of(known)
    request["answer_schema"] = answer_schema_of(known)
    request["logprobs"] = _logprobs(known, body)
    request["include_usage"] = bool(_object(known, "stream_options").get("include_usage", False))
    request["template_options"] = _template_options(known)
    return request


def _guarded(request: dict[str, Any]) -> dict[str, Any]:
    turns = [message.role for message in request["messages"]]
    if turns != [("user", "assistant")[index % 2] for index in range(len(turns))]:
        raise BadInput("'/messages' must alternate between the roles user and assistant, and begin with user")
    if request["answer_schema"] is not None:
        return {**request, "answer_schema": schema("llama-guard", "verdict")}
    return request


def _object(known: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    return fields.object_of(known.get(name, {}), f"/{name}")


def _max_tokens(value: float, where: str) -> int:
    if value < 1:
        raise BadInput(f"'{where}' must be >= 1")
    return int(value)


def _top_k(value: float, where: str) -> int | None:
    # Other servers write 0 or -1 for all of them.
    return int(value) if value > 0 else None


def _share(value: float, where: str) -> float:
    # OpenAI takes 0 for the likeliest token alone, which is what the smallest share of Workers AI gives.
    return max(float(value), SMALLEST_SHARE)


def _factor(value: float, where: str) -> float:
    # A score divided by less than this leaves the range of float32; 0 switches the penalty off.
    if 0 < value < SMALLEST_FACTOR:
        raise BadInput(f"'{where}' must be 0 or >= {SMALLEST_FACTOR}")
    return float(value)


def _stop(value: Any, where: str) -> tuple[str, ...]:
    # Not in the classic form; the OpenAI form has it, and a model here can honour it either way.
    stops = (value,) if isinstance(value, str) else fields.array(value, where)
    fields.check_length(stops, MOST_STOPS, where)
    texts = tuple(fields.text(stop, f"{where}/{index}") for index, stop in enumerate(stops))
    if "" in texts:
        raise BadInput(f"Length of '{where}' must be >= 1 not met")
    return texts


def _prompt(value: Any, where: str) -> str:
    if isinstance(value, str):
        return fields.non_empty_text(value, where)
    prompts = fields.array(value, where)
    if not all(isinstance(prompt, str) for prompt in prompts):
        raise BadInput(f"'{where}' must be a text, not tokens", hint="tokens of one model mean nothing to another")
    if len(prompts) != 1:
        raise BadInput(f"'{where}' must be one text, not {len(prompts)}", hint="send a request for each")
    return fields.non_empty_text(prompts[0], f"{where}/0")


def _logit_bias(value: Any, where: str) -> dict[int, float]:
    biases = fields.object_of(value, where)
    fields.check_length(biases, fields.MOST_ITEMS, where)
    found: dict[int, float] = {}
    for token, bias in biases.items():
        if not (token.isascii() and token.isdigit() and len(token) < 10):
            raise BadInput(f"'{where}' has the key {token[:40]!r}, and keys are the numbers of tokens")
        if not isinstance(bias, (int, float)) or isinstance(bias, bool):
            fields.mismatch(bias, f"{where}/{token}", "number")
        if not -MOST_BIAS <= bias <= MOST_BIAS:
            raise BadInput(f"'{where}/{token}' must be >= -{MOST_BIAS} and <= {MOST_BIAS}")
        found[int(token)] = float(bias)
    return found


def _logprobs(known: Mapping[str, Any], body: _Body) -> int | None:
    asked, top = known.get("logprobs"), known.get("top_logprobs")
    if body is _RESPONSES:
        wants = "message.output_text.logprobs" in fields.array(known.get("include", ()), "/include")
        return int(top) if top is not None else 0 if wants else None
    if body is _COMPLETION:
        return None if asked is None else int(asked)
    if top is not None and not asked:
        raise BadInput("'/top_logprobs' needs '/logprobs' to be true")
    return int(top or 0) if asked else None


# These are the engine's own words to a chat template; a request that could replace them would not be checked.
_TEMPLATE_WORDS = ("messages", "tools", "documents", "add_generation_prompt", "bos_token", "eos_token", "chat_template")


def _template_options(known: Mapping[str, Any]) -> dict[str, Any]:
    options: dict[str, Any] = {}
    effort = known.get("reasoning_effort", _object(known, "reasoning").get("effort"))
    if effort is not None:
        where = "/reasoning_effort" if "reasoning_effort" in known else "/reasoning/effort"
        options["reasoning_effort"] = fields.text(effort, where)
        if effort == "none":
            options["enable_thinking"] = False
    if "enable_thinking" in known:
        options["enable_thinking"] = fields.flag(known["enable_thinking"], "/enable_thinking")
    given = _object(known, "chat_template_kwargs")
    for name in _TEMPLATE_WORDS:
        if name in given:
            raise BadInput(f"'/chat_template_kwargs' has {name!r}, which the request itself decides")
    return {**options, **given}


_FIELDS: Mapping[str, tuple[str, fields.Read]] = {
    "raw": ("raw", fields.flag),
    "stream": ("stream", fields.flag),
    "max_tokens": ("max_tokens", _max_tokens),
    "max_completion_tokens": ("max_tokens", _max_tokens),
    "max_output_tokens": ("max_tokens", _max_tokens),
    "temperature": ("temperature", fields.number),
    "top_p": ("top_p", _share),
    "top_k": ("top_k", _top_k),
    "min_p": ("min_p", fields.number),
    "seed": ("seed", fields.integer),
    "repetition_penalty": ("repetition_penalty", _factor),
    "frequency_penalty": ("frequency_penalty", fields.number),
    "presence_penalty": ("presence_penalty", fields.number),
    "lora": ("lora", fields.text),
    "stop": ("stop", _stop),
    "n": ("n", fields.integer),
    "logit_bias": ("logit_bias", _logit_bias),
    "parallel_tool_calls": ("parallel_tool_calls", fields.flag),
}
"""The keys that become a field by themselves. Of two that become the same one, the later counts."""


# What OpenAI's forms have and nothing here can honour. It is refused, because an answer that leaves it out is wrong.


@dataclass(frozen=True, slots=True)
class _Refusal:
    concerns: Callable[[Any, Mapping[str, Any]], bool]
    sentence: str
    hint: str = ""


def _always(value: Any, known: Mapping[str, Any]) -> bool:
    return True


_CANNOT: Mapping[str, _Refusal] = {
    "audio": _Refusal(_always, "asks for an answer in audio", "no model that speaks runs locally yet"),
    "modalities": _Refusal(
        lambda value, known: fields.array(value, "/modalities") != ("text",),
        "asks for more than 'text'",
        "answers are text only",
    ),
    "web_search_options": _Refusal(_always, "asks for a web search", "nothing here searches the web"),
    "suffix": _Refusal(_always, "asks for a text to be filled in", "models here continue a text at its end"),
    "echo": _Refusal(lambda value, known: value is True, "asks for the prompt in the answer", "put it there yourself"),
    "best_of": _Refusal(
        lambda value, known: value > known.get("n", 1), "must be <= '/n'", "each answer that is made is returned"
    ),
    "previous_response_id": _Refusal(
        _always, "names an earlier answer, and none is stored", "send the whole conversation as '/input'"
    ),
    "conversation": _Refusal(
        _always, "names a conversation, and none is stored", "send the whole conversation as '/input'"
    ),
    "background": _Refusal(lambda value, known: value is True, "asks for an answer to be fetched later"),
}
