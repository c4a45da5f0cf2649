"""Questions that need a tool, the call that the model writes, and the answer made of the result."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from training.corpus.geography import cities


@dataclass(frozen=True)
class Tool:
    names: tuple[str, ...]
    arguments: tuple[str, ...]
    questions: tuple[str, ...]
    result: Callable[[Random], str]
    answer: str


@dataclass(frozen=True)
class ToolChat:
    listing: str
    question: str
    call: str
    result: str
    answer: str


SKIES = ("sunny", "cloudy", "rainy", "windy", "foggy", "clear")
SUBJECTS = (
    "tea",
    "music",
    "trains",
    "cats",
    "bread",
    "tennis",
    "bridges",
    "painting",
    "gardens",
    "ships",
    "birds",
    "robots",
    "coffee",
    "snow",
    "planets",
    "football",
    "cheese",
    "flowers",
    "castles",
    "volcanoes",
)
FOUND = (
    "{x} are loved by many people",
    "there is a new book about {x}",
    "a short history of {x}",
    "ten things about {x}",
)


def weather(rng: Random) -> str:
    return f"{rng.choice((-9, -5, -2, *range(2, 39)))} degrees and {rng.choice(SKIES)}"


def clock(rng: Random) -> str:
    return f"{rng.randint(0, 23):02}:{rng.randint(0, 59):02}"


def number(rng: Random) -> str:
    return str(rng.randint(2, 9999))


TOOLS = (
    Tool(
        ("get_weather", "weather", "get_current_weather", "getWeather"),
        ("city",),
        (
            "what is the weather in {city}",
            "how is the weather in {city}",
            "what's the weather like in {city}",
            "weather in {city}",
            "is it raining in {city}",
            "how warm is it in {city}",
            "tell me the weather in {city}",
            "is it cold in {city}",
            "what is the temperature in {city}",
        ),
        weather,
        "It is {result} in {city}.",
    ),
    Tool(
        ("get_time", "time", "current_time", "getTime"),
        ("city",),
        (
            "what time is it in {city}",
            "what is the time in {city}",
            "time in {city}",
            "how late is it in {city}",
            "tell me the time in {city}",
            "what time do they have in {city}",
        ),
        clock,
        "It is {result} in {city}.",
    ),
    Tool(
        ("add", "sum", "add_numbers"),
        ("a", "b"),
        ("what is {a} + {b}", "add {a} and {b}", "{a} + {b}", "how much is {a} plus {b}", "what is {a} plus {b}"),
        number,
        "The result is {result}.",
    ),
    Tool(
        ("multiply", "multiply_numbers", "product"),
        ("a", "b"),
        (
            "what is {a} * {b}",
            "multiply {a} and {b}",
            "{a} * {b}",
            "how much is {a} times {b}",
            "what is {a} times {b}",
        ),
        number,
        "The result is {result}.",
    ),
    Tool(
        ("search", "web_search", "search_web"),
        ("query",),
        (
            "search for {query}",
            "look up {query}",
            "find something about {query}",
            "search the web for {query}",
            "what does the web say about {query}",
            "find {query}",
        ),
        lambda rng: rng.choice(FOUND).format(x=rng.choice(SUBJECTS)),
        "I found this: {result}.",
    ),
    Tool(
        ("get_population", "population"),
        ("city",),
        ("how many people live in {city}", "what is the population of {city}", "population of {city}"),
        lambda rng: f"{rng.randint(2, 30)} million",
        "About {result} people live in {city}.",
    ),
)
SYNONYMS = {"city": ("location", "place"), "query": ("text", "q")}
CITIES = tuple(city.name for city in cities()[:140])


def tool_chat(rng: Random) -> ToolChat:
    tool = rng.choice(TOOLS)
    values: dict[str, str | int] = {}
    for name in tool.arguments:
        values[name] = {"city": rng.choice(CITIES), "query": rng.choice(SUBJECTS)}.get(
            name, rng.randint(2, rng.choice((20, 99, 999)))
        )
    name = rng.choice(tool.names)
    called = dict(zip(arguments_of(tool, rng), values.values(), strict=True))
    listing = list_tools([(name, tuple(called)), *other_tools(tool, rng)], rng)
    call = json.dumps({"name": name, "arguments": called}, ensure_ascii=False)
    result = tool.result(rng)
    return ToolChat(
        listing, rng.choice(tool.questions).format(**values), call, result, tool.answer.format(result=result, **values)
    )


def arguments_of(tool: Tool, rng: Random) -> tuple[str, ...]:
    """The names of the arguments, some of which have synonyms."""
    return tuple(rng.choice((name, *SYNONYMS.get(name, ()))) for name in tool.arguments)


def other_tools(tool: Tool, rng: Random) -> list[tuple[str, tuple[str, ...]]]:
    others = rng.sample([other for other in TOOLS if other is not tool], rng.randint(0, 3))
    return [(rng.choice(other.names), arguments_of(other, rng)) for other in others]


def list_tools(tools: list[tuple[str, tuple[str, ...]]], rng: Random | None = None) -> str:
    """`Tools: get_weather(city), add(a, b)`, as the chat template writes it."""
    if rng:
        rng.shuffle(tools)
    return "Tools: " + ", ".join(f"{name}({', '.join(arguments)})" for name, arguments in tools)


def any_listing(rng: Random) -> str:
    return list_tools(
        [(rng.choice(tool.names), arguments_of(tool, rng)) for tool in rng.sample(TOOLS, rng.randint(1, 3))], rng
    )
