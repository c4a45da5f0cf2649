import pickle

import pytest

from cfai import errors
from cfai.errors import AiError, BadInput, ContextExceeded, EngineFailure, NoSuchModel, OutOfCapacity, WeightsMissing


@pytest.mark.parametrize(
    ("error", "code", "status", "text"),
    [
        (NoSuchModel("@cf/x/y"), 5007, 400, "5007: No such model @cf/x/y or task"),
        (BadInput("oneOf at '/' not met"), 5006, 400, "5006: Error: oneOf at '/' not met"),
        (errors.InvalidData("int"), 5004, 400, "5004: Invalid data type for base64 input: int"),
        (errors.IncompleteRequest("body"), 3003, 400, "3003: Request is missing headers or body: body"),
        (errors.InvalidModelName("x y"), 3042, 404, "3042: The model name is invalid: 'x y'"),
        (errors.LoraIncompatible("another rank"), 3030, 400, "3030: Lora not compatible with model"),
        (errors.FinetuneMissing("mine"), 3037, 404, "3037: Finetune mine not found"),
        (errors.LoraUnsupported("@cf/x/y"), 5005, 405, "5005: The model @cf/x/y does not support LoRa inference"),
        (errors.RequestTooLarge(), 3006, 413, "3006: Request is too large"),
        (errors.Unauthorized(), 10000, 401, "10000: Authentication error"),
        (errors.Forbidden(), 5018, 403, "5018: The account is not allowed to access this model"),
        (errors.RequestTimeout(), 3007, 408, "3007: Request timeout"),
        (errors.RequestAborted(), 3008, 408, "3008: Request was aborted"),
        (errors.RateLimited(), 3021, 429, "3021: rate limiting: inference request per min rate reached"),
        (OutOfCapacity(), 3040, 429, "3040: Capacity temporarily exceeded, please try again."),
        (errors.NoRoute("/x"), 7003, 404, "7003: Could not route to /x, perhaps your object identifier is invalid?"),
        (errors.MethodNotAllowed("GET"), 7001, 405, "7001: GET not supported for requested URI."),
    ],
)
def test_an_error_carries_cloudflares_code_status_and_text(error: AiError, code: int, status: int, text: str) -> None:
    assert (error.code, error.status, str(error)) == (code, status, text)
    assert error.name == "AiError"


def test_the_rest_message_has_title_description_and_request_id() -> None:
    assert BadInput("Type mismatch of '/prompt'").rest_message("id-1") == (
        "AiError: Bad input: Error: Type mismatch of '/prompt' (id-1)"
    )
    assert NoSuchModel("@cf/x/y").rest_message("id-1") == "AiError: No such model @cf/x/y or task (id-1)"


def test_the_binding_body_has_the_fields_that_workerd_reads() -> None:
    assert ContextExceeded(9000, 8192).to_body() == {
        "internalCode": 5021,
        "httpCode": 413,
        "name": "AiError",
        "message": "AiError: The estimated number of input and maximum output tokens (9000) exceeded this model "
        "context window limit (8192).",
        "description": "The estimated number of input and maximum output tokens (9000) exceeded this model context "
        "window limit (8192).",
    }


@pytest.mark.parametrize(
    "error", [WeightsMissing("none here", hint="fetch them"), BadInput("x"), EngineFailure("broke")]
)
def test_an_error_survives_its_own_body_and_pickling(error: AiError) -> None:
    for copy in (AiError.from_body(error.to_body(), error.status), pickle.loads(pickle.dumps(error))):
        assert type(copy) is type(error)
        assert (str(copy), copy.status, copy.hint, copy.name) == (str(error), error.status, error.hint, error.name)
        assert copy.to_body() == error.to_body()


@pytest.mark.parametrize(
    ("body", "code", "description"),
    [
        ({"errors": [{"code": 5007, "message": "AiError: No such model x"}]}, 5007, "AiError: No such model x"),
        ({"errors": {"code": 5006, "message": "an object, as seen"}}, 5006, "an object, as seen"),
        ({"errors": [{"code": 99999, "message": "new"}]}, 99999, "new"),
        ({"errors": [{"code": "odd", "message": "m"}]}, 8500, "m"),
        ({"internalCode": None, "message": "m"}, 8500, "m"),
        ({"errors": []}, 8500, "{'errors': []}"),
        ("<html>bad gateway</html>", 8500, "<html>bad gateway</html>"),
        (None, 8500, "None"),
    ],
)
def test_any_error_body_gives_an_error(body: object, code: int, description: str) -> None:
    error = AiError.from_body(body, 502)
    assert (error.code, error.description, error.status) == (code, description, 502)


def test_a_hint_in_the_envelopes_messages_comes_along() -> None:
    body = {"errors": [{"code": 5007, "message": "no"}], "messages": [{"code": 5007, "message": "see the list"}]}
    assert AiError.from_body(body, 400).hint == "see the list"


def test_a_code_finds_its_class() -> None:
    assert type(AiError.of(3040, "busy")) is OutOfCapacity
    assert type(AiError.of(1, "unknown")) is AiError


def test_a_hint_is_a_note_of_the_traceback() -> None:
    assert NoSuchModel("@cf/x/y").__notes__ == ["`cfai models` lists the ids, `cfai models --here` what runs here"]
