"""Countries, cities and nature: the tables beside this file, and how one asks about them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from training.corpus.facts import Fact, fill
from training.corpus.sheets import questions, rows, unseen

FAMOUS = {
    "New York": 12.0,
    "London": 4.0,
    "Paris": 4.0,
    "Berlin": 4.0,
    "Tokyo": 4.0,
    "Rome": 3.0,
    "Madrid": 3.0,
    "San Francisco": 3.0,
    "Los Angeles": 2.0,
    "Chicago": 2.0,
    "Lisbon": 2.0,
    "Vienna": 2.0,
    "Amsterdam": 2.0,
    "Sydney": 2.0,
    "Moscow": 2.0,
    "Beijing": 2.0,
    "Cairo": 2.0,
    "Toronto": 2.0,
    "Dublin": 2.0,
    "Athens": 2.0,
    "the United States": 2.0,
    "France": 3.0,
    "Germany": 3.0,
    "Japan": 3.0,
    "Italy": 2.0,
    "Spain": 2.0,
    "India": 2.0,
    "the United Kingdom": 2.0,
    "China": 2.0,
    "Brazil": 2.0,
    "Canada": 2.0,
    "Portugal": 2.0,
    "Australia": 2.0,
}

OTHER_NAMES = {
    "New York": ("New York City", "NYC"),
    "the United States": ("the USA", "America", "USA", "the US"),
    "the United Kingdom": ("the UK", "UK"),
    "Washington, D.C.": ("Washington", "Washington DC"),
    "Turkey": ("Türkiye",),
    "the Czech Republic": ("Czechia",),
    "the Netherlands": ("Holland",),
    "Ho Chi Minh City": ("Saigon",),
    "Mumbai": ("Bombay",),
    "Saint Petersburg": ("St. Petersburg",),
    "Ivory Coast": ("Côte d'Ivoire",),
    "Myanmar": ("Burma",),
    "Eswatini": ("Swaziland",),
    "Cape Verde": ("Cabo Verde",),
    "Timor-Leste": ("East Timor",),
    "Los Angeles": ("LA", "L.A."),
    "Rio de Janeiro": ("Rio",),
    "Kyiv": ("Kiev",),
    "Zurich": ("Zürich",),
    "Mount Everest": ("Everest",),
    "Marrakesh": ("Marrakech",),
    "Kraków": ("Krakow",),
    "the United Arab Emirates": ("the UAE",),
    "the Democratic Republic of the Congo": ("the DR Congo",),
}

THREE_CAPITALS = "three capitals: Pretoria, Cape Town and Bloemfontein"


@dataclass(frozen=True)
class Country:
    name: str
    capital: str
    continent: str
    where: str
    language: str
    currency: str


@dataclass(frozen=True)
class City:
    name: str
    country: str
    where: str
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Place:
    kind: str
    name: str
    where: str
    short: str
    note: str


def countries() -> list[Country]:
    return [Country(*row) for row in rows("countries")]


def cities() -> list[City]:
    """The cities of the table, then the capitals that are not in it."""
    listed = [City(name, country, where, sentences(notes)) for name, country, where, notes in rows("cities")]
    known = {city.name for city in listed}
    states = {country.name for country in countries()}
    for country in countries():
        if country.capital not in known and country.capital not in states and country.capital != "-":
            lies = f"It is the capital of the country, which lies {country.where}."
            listed.append(City(country.capital, country.name, f"in {country.name}", (lies,)))
    return listed


def places() -> list[Place]:
    return [Place(*row) for row in rows("nature")]


def sentences(text: str) -> tuple[str, ...]:
    # A full stop behind a capital letter belongs to a name, as in D.C.
    return tuple(re.split(r"(?<=[^A-Z]\.) (?=[A-Z])", text))


def upper_first(name: str) -> str:
    return name[:1].upper() + name[1:]


def verb(name: str) -> str:
    plural = (
        "the Alps",
        "the Himalayas",
        "the Andes",
        "the Pyrenees",
        "the pyramids",
        "the Philippines",
        "the Bahamas",
        "Maldives",
        "Seychelles",
        "Comoros",
        "the Netherlands",
        "Niagara Falls",
    )
    islands_or_mountains = name.endswith(("Mountains", "Islands"))
    return "are" if name.startswith(plural) or islands_or_mountains else "is"


def ask(wordings: tuple[str, ...], name: str) -> tuple[str, ...]:
    """The wordings with the name in them, and the verb in agreement."""
    found: list[str] = []
    for typed in names(name):
        asked = fill(wordings, name=typed)
        if verb(name) == "are":
            asked = tuple(
                q.replace(f"is {typed}", f"are {typed}").replace(f"{typed} is", f"{typed} are") for q in asked
            )
        found += asked
    return tuple(found)


def names(name: str) -> tuple[str, ...]:
    """The name, the other names for it, and the name as typed by people in a hurry."""
    bare = (name.removeprefix("the "),) if name.startswith("the ") else ()
    return (name, *OTHER_NAMES.get(name, ()), *bare)


def located(name: str, where: str) -> str:
    return stop(f"{upper_first(name)} {verb(name)} located {where}")


def stop(text: str) -> str:
    return text if text.endswith(".") else text + "."


def city_facts() -> Iterator[Fact]:
    for city in cities():
        first = located(city.name, city.where)
        weight = FAMOUS.get(city.name, 1.0)
        key = city.where.split(",")[0]
        yield Fact(
            "city: where",
            city.name,
            ask(questions("where"), city.name),
            (first, *city.notes),
            (city.name, key),
            unseen_wordings=ask(unseen("where"), city.name),
            short=city.country,
            weight=weight,
            pinned=(f"where is {city.name}",),
        )
        country = f"{city.name} is in {city.country}."
        yield Fact(
            "city: country",
            city.name,
            ask(questions("country of a city"), city.name),
            (country,),
            (city.country,),
            unseen_wordings=ask(unseen("country of a city"), city.name),
            short=city.country,
            weight=weight,
        )
        yield Fact(
            "city: tell me about",
            city.name,
            ask(questions("tell me about"), city.name),
            about_city(city),
            (city.name, key),
            unseen_wordings=ask(unseen("tell me about"), city.name),
            short=city.country,
            weight=weight,
        )


def about_city(city: City) -> tuple[str, ...]:
    country = next((c for c in countries() if c.name == city.country), None)
    told = [f"{city.name} is a city {city.where}.", *city.notes]
    if country and f"in {country.name}" != city.where:
        told.append(f"{upper_first(country.name)} {verb(country.name)} {country.where}.")
    # Hong Kong has a language and a currency of its own.
    if country and country.currency != "-" and city.name != "Hong Kong":
        told.append(f"People in {country.name} speak {country.language} and pay with the {country.currency}.")
    return tuple(told)


def about_country(country: Country) -> tuple[str, ...]:
    name = upper_first(country.name)
    told = [f"{name} {verb(country.name)} a country {country.where}."]
    told += its_capital(country)
    told.append(
        f"The main language there is {country.language}."
        if " and " not in country.language
        else f"The main languages there are {country.language}."
    )
    if country.currency != "-":
        told.append(f"People pay with the {country.currency}.")
    return tuple(told)


def country_facts() -> Iterator[Fact]:
    for country in countries():
        name = country.name
        weight = FAMOUS.get(name, 1.0)
        lead = located(name, country.where)
        more = its_capital(country)
        short = country.continent if country.continent != "-" else ""
        yield Fact(
            "country: where",
            name,
            ask(questions("where"), name),
            (lead, *more),
            (country.where,),
            unseen_wordings=ask(unseen("where"), name),
            short=short,
            weight=weight,
            pinned=(f"where is {name}",),
        )
        about = about_country(country)
        yield Fact(
            "country: tell me about",
            name,
            ask(questions("tell me about"), name),
            about,
            (country.where, *more),
            unseen_wordings=ask(unseen("tell me about"), name),
            weight=weight,
        )
        if country.capital != "-":
            yield from capital_facts(country, weight)
        if country.continent != "-":
            on = f"{upper_first(name)} {verb(name)} in {country.continent}."
            yield Fact(
                "country: continent",
                name,
                ask(questions("continent"), name),
                (on,),
                (country.continent,),
                unseen_wordings=ask(unseen("continent"), name),
                short=country.continent,
                weight=weight,
            )
        yield language_fact(country, weight)
        if country.currency != "-":
            pay = f"The currency of {name} is the {country.currency}."
            yield Fact(
                "country: currency",
                name,
                ask(questions("currency"), name),
                (pay,),
                (country.currency,),
                unseen_wordings=ask(unseen("currency"), name),
                short=country.currency,
                weight=weight,
            )


def its_capital(country: Country) -> tuple[str, ...]:
    if country.capital == "-":
        return ()
    if country.name == "South Africa":
        return (f"It has {THREE_CAPITALS}.",)
    return (stop(f"Its capital is {country.capital}"),)


def capital_facts(country: Country, weight: float) -> Iterator[Fact]:
    name, capital = country.name, country.capital
    told = stop(f"The capital of {name} is {capital}")
    if name == "South Africa":
        told = f"South Africa has {THREE_CAPITALS}."
    yield Fact(
        "country: capital",
        name,
        ask(questions("capital"), name),
        (told,),
        (capital,),
        unseen_wordings=ask(unseen("capital"), name),
        short=capital,
        weight=weight * 1.5,
        pinned=(f"what is the capital of {name}",),
    )
    if capital != name and name != "South Africa":
        yield Fact(
            "city: capital of",
            capital,
            ask(questions("capital of what"), capital),
            (f"{capital} is the capital of {name}.",),
            (name,),
            unseen_wordings=ask(unseen("capital of what"), capital),
            short=name,
            weight=weight * 0.7,
        )


def language_fact(country: Country, weight: float) -> Fact:
    language = country.language
    several = " and " in language
    told = (
        f"The main language of {country.name} is {language}."
        if not several
        else f"The main languages of {country.name} are {language}."
    )
    keys = tuple(re.split(r", | and ", language))
    return Fact(
        "country: language",
        country.name,
        ask(questions("language"), country.name),
        (told,),
        keys,
        unseen_wordings=ask(unseen("language"), country.name),
        short="" if several else language,
        weight=weight,
    )


def place_facts() -> Iterator[Fact]:
    for place in places():
        name = place.name
        article = f"the {name}" if place.kind == "river" else name
        lead = located(article, place.where)
        short = "" if place.short == "-" else place.short
        key = place.where.split(",")[0]
        yield Fact(
            "nature: where",
            article,
            ask(questions("where"), article),
            (lead, place.note),
            (key,),
            unseen_wordings=ask(unseen("where"), article),
            short=short,
        )
        noun = {"range": "mountain range", "region": "region", "place": "famous place"}.get(place.kind, place.kind)
        one = "an" if noun[0] in "aeiou" else "a"
        what = stop(f"{upper_first(article)} {verb(article)} {one} {noun} {place.where}")
        yield Fact(
            "nature: tell me about",
            article,
            ask(questions("tell me about"), article),
            (what, place.note),
            (key,),
            unseen_wordings=ask(unseen("tell me about"), article),
            short=short,
            weight=0.7,
        )


def yes_or_no_facts() -> Iterator[Fact]:
    """Is Paris in Spain? No, Paris is in France."""
    every = countries()
    listed = cities()
    for city in listed:
        rng = Random(city.name)
        truth = f"{city.name} is in {city.country}."
        others = [country.name for country in rng.sample(every, 4)] + [rng.choice(listed).country for _ in range(2)]
        for other in dict.fromkeys((city.country, *others)):
            right = other == city.country
            yield yes_or_no("is it in", city.name, other, truth, city.country, right=right)
    for country in every:
        if country.capital in ("-", country.name) or country.name == "South Africa":
            continue
        rng = Random(country.name)
        truth = stop(f"The capital of {country.name} is {country.capital}")
        others = [other.capital for other in rng.sample(every, 3) if other.capital not in ("-", other.name)]
        others += [city.name for city in listed if city.country == country.name][:4]
        for name in dict.fromkeys((country.capital, *others)):
            right = name == country.capital
            yield yes_or_no("is it the capital", name, country.name, truth, country.capital, right=right)


def yes_or_no(kind: str, name: str, other: str, truth: str, key: str, *, right: bool) -> Fact:
    return Fact(
        "yes or no",
        f"{name}, {other}",
        fill(questions(kind), name=name, other=other),
        (f"{'Yes' if right else 'No'}, {truth[0].lower() + truth[1:] if truth.startswith('The ') else truth}",),
        ("Yes" if right else "No", key),
        unseen_wordings=fill(unseen(kind), name=name, other=other),
        short="Yes" if right else "No",
        weight=4.0 if right else 1.0,
    )


def facts() -> list[Fact]:
    return [*city_facts(), *country_facts(), *place_facts(), *yes_or_no_facts()]
