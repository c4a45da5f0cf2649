"""The tools that a request offers to the model, and which of them it may or must call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from cfai.errors import BadInput
from cfai.tasks import fields

__all__ = ["Choice", "Tool", "ToolChoice", "tools_of"]

ToolChoice = Literal["auto", "none", "required"]

_CHOICES: Mapping[str, ToolChoice] = {"auto": "auto", "none": "none", "required": "required", "any": "required"}
"""`any` is what other services call `required`; clients that speak to several send it."""
LONGEST_NAME = 256


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that the model may ask the caller to run."""

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=lambda: {"type": "object", "properties": {}})
    """The JSON schema of the arguments, which are one object."""

    def to_json(self) -> dict[str, Any]:
        """The tool as chat templates want it."""
        function = {"name": self.name, "description": self.description, "parameters": self.parameters}
        return {"type": "function", "function": function}


class Choice(NamedTuple):
    """What a request says about tools. A forced one is the name of the tool that must be called."""

    tools: tuple[Tool, ...] = ()
    choice: ToolChoice = "auto"
    forced: str | None = None


def tools_of(inputs: Mapping[str, Any]) -> Choice:
    """The tools of the inputs: `tools` and `tool_choice`, or `functions` and `function_call`, as they were called once.

    Functions that carry `code` are for the caller's SDK, which runs them; the model does not see them.
    """
    tools = tuple(
        _tool(tool, f"/tools/{index}") for index, tool in enumerate(fields.array(inputs.get("tools", ()), "/tools"))
    )
    where, asked = "/tool_choice", inputs.get("tool_choice")
    if not tools:
        functions = fields.array(inputs.get("functions", ()), "/functions")
        tools = tuple(
            _function(function, f"/functions/{index}")
            for index, function in enumerate(functions)
            if not (isinstance(function, Mapping) and "code" in function)
        )
        if asked is None:
            where, asked = "/function_call", inputs.get("function_call")
    names = {tool.name for tool in tools}
    if len(names) < len(tools):
        raise BadInput("'/tools' has two tools of one name")
    choice, forced = ("auto", None) if asked is None else _choice(asked, where)
    if not tools and choice == "required":
        raise BadInput(f"'{where}' asks for a call, and there are no tools")
    if forced is not None and forced not in names:
        raise BadInput(f"'{where}' names {forced[:40]!r}, which is not among the tools: {', '.join(sorted(names))}")
    return Choice(tools, choice, forced)


def _tool(value: Any, where: str) -> Tool:
    tool = fields.object_of(value, where)
    kind = tool.get("type", "function")
    if kind != "function":
        raise BadInput(
            f"'{where}' has the type {str(kind)[:40]!r}, and tools are of the type 'function'",
            hint="what OpenAI runs on its side, such as a web search, does not run here",
        )
    if tool.get("function") is not None:
        return _function(tool["function"], f"{where}/function")
    return _function(tool, where)


def _function(value: Any, where: str) -> Tool:
    function = fields.object_of(value, where)
    if function.get("name") is None:
        fields.missing(where, "name,description,parameters")
    name = fields.non_empty_text(function["name"], f"{where}/name")
    if len(name) > LONGEST_NAME:
        raise BadInput(f"Length of '{where}/name' must be <= {LONGEST_NAME}")
    described = function.get("description")
    description = "" if described is None else fields.text(described, f"{where}/description")
    return Tool(name, description, _parameters(function.get("parameters"), f"{where}/parameters"))


def _parameters(value: Any, where: str) -> Mapping[str, Any]:
    if value is None:
        return {"type": "object", "properties": {}}
    parameters = fields.object_of(value, where)
    if (kind := parameters.get("type", "object")) != "object":
        raise BadInput(f"'{where}/type' is {str(kind)[:40]!r}, and arguments are an 'object'")
    return {"type": "object", "properties": {}, **parameters}


def _choice(value: Any, where: str) -> tuple[ToolChoice, str | None]:
    if isinstance(value, str):
        if value not in _CHOICES:
            raise BadInput(f"enum {value[:40]} not in {','.join(_CHOICES)} at '{where}'")
        return _CHOICES[value], None
    asked = fields.object_of(value, where)
    kind = asked.get("type", "function")
    if isinstance(kind, str) and kind in _CHOICES:
        return _CHOICES[kind], None
    if kind not in ("function", "tool"):
        raise BadInput(f"'{where}' has the type {str(kind)[:40]!r}, and a choice is of the type 'function'")
    function = fields.object_of(asked.get("function") or asked, f"{where}/function")
    if function.get("name") is None:
        fields.missing(where, "type,function")
    return "required", fields.non_empty_text(function["name"], f"{where}/name")
