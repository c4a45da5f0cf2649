"""Names that mean nothing, so that the model learns to copy a name, and to say that it does not know a place."""

from random import Random

BEGINNINGS = (
    "Ba",
    "Do",
    "Fel",
    "Gar",
    "Hi",
    "Jo",
    "Ka",
    "Lor",
    "Mi",
    "Nu",
    "Or",
    "Pel",
    "Qui",
    "Ra",
    "Sul",
    "Ta",
    "Ul",
    "Vo",
    "Wen",
    "Xa",
    "Yor",
    "Zi",
    "Bren",
    "Cro",
    "Dra",
    "Sto",
    "Tri",
    "Glen",
)
MIDDLES = ("", "", "ba", "do", "fi", "ga", "lo", "mi", "na", "ri", "su", "ve", "zo", "len", "mar", "tor")
ENDS = (
    "bo",
    "dan",
    "fia",
    "go",
    "ka",
    "la",
    "mon",
    "nia",
    "ra",
    "sk",
    "ton",
    "va",
    "wick",
    "xo",
    "zia",
    "dor",
    "beth",
    "lin",
)


def invented(seed: str, count: int) -> tuple[str, ...]:
    rng = Random(seed)
    names: dict[str, None] = {}
    while len(names) < count:
        names[rng.choice(BEGINNINGS) + rng.choice(MIDDLES) + rng.choice(ENDS)] = None
    return tuple(names)
