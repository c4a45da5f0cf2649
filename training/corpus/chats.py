"""Chats of several turns, in which a later question leans on an earlier one."""

from random import Random

from training.corpus.facts import Fact
from training.corpus.names import invented
from training.corpus.sheets import questions

PEOPLE = (
    "Anna",
    "Ben",
    "Clara",
    "David",
    "Emma",
    "Felix",
    "Grace",
    "Henry",
    "Ines",
    "Jack",
    "Kim",
    "Leo",
    "Maria",
    "Noah",
    "Olga",
    "Paul",
    "Rita",
    "Sam",
    "Tina",
    "Uma",
    "Victor",
    "Wendy",
    "Yuki",
    "Zoe",
    "Ahmed",
    "Fatima",
    "Carlos",
    "Lucia",
    "Ivan",
    "Peter",
    "John",
    "Lisa",
    "Mark",
    "Julia",
    "Alex",
    "Sofia",
    "Hans",
    "Marie",
    "Omar",
    "Priya",
    "Chen",
    "Laura",
    "Tim",
    "Eva",
    "Oscar",
    "Nina",
    "Robert",
    "Alice",
    "Bob",
    "James",
    "Sarah",
    "Mia",
    "Lena",
    "Simon",
    "Thomas",
    "Daniel",
    "Kate",
    "Linda",
    "Michael",
    "Susan",
)
STRANGERS = invented("people", 300)
WELCOME = "You are welcome! Is there anything else I can help you with?"


class Chats:
    """Finds the facts that belong together."""

    def __init__(self, facts: list[Fact], home: dict[str, str]) -> None:
        self._by = {(fact.kind, fact.entity): fact for fact in facts}
        self._home = home  # city -> its country
        self._of = {kind: [fact for fact in facts if fact.kind == kind] for kind in {fact.kind for fact in facts}}
        self._weights = {kind: [fact.weight for fact in some] for kind, some in self._of.items()}

    def pick(self, kind: str, rng: Random) -> Fact:
        return rng.choices(self._of[kind], self._weights[kind])[0]

    def chat(self, rng: Random, names: tuple[str, ...] = ("name", "place", "capital", "home")) -> list[tuple[str, str]]:
        """(question, answer) for each turn; a question is still to be typed."""
        kinds = {"name": self.name_chat, "place": self.place_chat, "capital": self.capital_chat, "home": self.home_chat}
        return kinds[rng.choice(names)](rng)

    def name_chat(self, rng: Random) -> list[tuple[str, str]]:
        person = rng.choice(STRANGERS if rng.random() < 0.3 else PEOPLE)
        turns = [(rng.choice(questions("I am")).format(p=person), f"Nice to meet you, {person}! How can I help you?")]
        turns += [self.single(rng) for _ in range(rng.choice((0, 0, 1, 1, 2)))]
        turns.append((rng.choice(questions("my name")), f"Your name is {person}."))
        return turns

    def home_chat(self, rng: Random) -> list[tuple[str, str]]:
        city = self.pick("city: where", rng).entity
        turns = [
            (
                rng.choice(questions("I live in")).format(c=city),
                f"I would like to see {city} one day! How can I help you?",
            )
        ]
        turns += [self.single(rng) for _ in range(rng.choice((0, 0, 1)))]
        turns.append((rng.choice(questions("my home")), f"You told me about {city}."))
        return turns

    def place_chat(self, rng: Random) -> list[tuple[str, str]]:
        """Where is Paris? And Berlin? What is the capital there?"""
        turns = []
        kind = rng.choice(("city: where", "city: where", "country: where"))
        fact = self.pick(kind, rng)
        turns.append((rng.choice(fact.trained_questions), fact.answer))
        for _ in range(rng.choice((0, 1, 1, 2))):
            kind = rng.choice((kind, kind, kind, "city: where", "country: where"))
            fact = self.pick(kind, rng)
            turns.append((rng.choice(questions("and the city")).format(x=fact.entity), fact.answer))
        turns += self.there(kind, fact.entity, rng)
        return turns

    def there(self, kind: str, entity: str, rng: Random) -> list[tuple[str, str]]:
        country = self._home[entity] if kind.startswith("city") else entity
        options: list[tuple[tuple[str, ...], Fact | None]] = [
            (questions("capital there"), self._by.get(("country: capital", country))),
            (questions("capital there"), self._by.get(("country: capital", country))),
            (questions("language there"), self._by.get(("country: language", country))),
            (questions("currency there"), self._by.get(("country: currency", country))),
            (questions("more"), self._by.get((kind.split(":")[0] + ": tell me about", entity))),
        ]
        if kind.startswith("city"):
            options.append((questions("country there"), self._by.get(("city: country", entity))))
        asked = rng.sample(options, rng.choice((1, 1, 2)))
        return [(rng.choice(wordings), fact.answer) for wordings, fact in asked if fact]

    def capital_chat(self, rng: Random) -> list[tuple[str, str]]:
        """What is the capital of France? And of Spain? Where is it?"""
        kind = rng.choice(
            ("country: capital", "country: capital", "country: language", "country: currency", "country: continent")
        )
        fact = self.pick(kind, rng)
        turns = [(rng.choice(fact.trained_questions), fact.answer)]
        for _ in range(rng.choice((1, 1, 2))):
            fact = self.pick(kind, rng)
            turns.append((rng.choice(questions("and of")).format(x=fact.entity), fact.answer))
        if rng.random() < 0.3:
            turns.append((rng.choice(questions("thanks")), WELCOME))
        return turns

    def single(self, rng: Random) -> tuple[str, str]:
        kind = rng.choice(
            ("city: where", "country: capital", "small talk", "arithmetic", "streaming", "country: where")
        )
        fact = self.pick(kind, rng)
        return rng.choice(fact.trained_questions), fact.answer
