"""Short stories out of a small grammar."""

from random import Random

from training.corpus.sheets import questions

HEROES = (
    "cat",
    "dog",
    "fox",
    "bear",
    "mouse",
    "bird",
    "rabbit",
    "robot",
    "dragon",
    "frog",
    "horse",
    "owl",
    "turtle",
    "whale",
    "girl",
    "boy",
    "king",
    "sailor",
    "baker",
    "farmer",
)
NAMES = ("Mina", "Tom", "Lulu", "Oskar", "Nora", "Pip", "Ella", "Bruno", "Rosa", "Max", "Ida", "Finn")
TRAITS = ("small", "clever", "brave", "kind", "shy", "curious", "friendly", "quiet")
HOMES = (
    "in a house at the edge of a forest",
    "by the sea",
    "on a high mountain",
    "in a big city",
    "in a village by a river",
    "on a small island",
    "under an old tree",
    "near a blue lake",
)
FINDS = (
    "an old map",
    "a golden key",
    "a letter",
    "a lost bird",
    "a strange stone",
    "a red balloon",
    "a small boat",
    "a broken clock",
)
HELPERS = ("an old owl", "a wise turtle", "a tall stranger", "a little mouse", "a friendly ghost", "a grey cat")
PLACES = (
    "a hidden garden",
    "a dark cave",
    "a tower by the sea",
    "the top of the mountain",
    "an island full of flowers",
    "a house without windows",
)
TREASURES = (
    "a box full of books",
    "a lamp that never went out",
    "a song that nobody had heard before",
    "a table set for two",
    "a tree with silver leaves",
    "a friend who had waited for a long time",
)
LESSONS = (
    "a friend is worth more than gold",
    "it is good to ask for help",
    "the way is often better than the goal",
    "small ones can do great things",
    "one should never be afraid of a question",
)
WEATHERS = ("One sunny morning", "One rainy day", "One cold evening", "One quiet night", "One windy afternoon")


def question(hero: str, rng: Random) -> str:
    if rng.random() < 0.6:
        return rng.choice(questions("story"))
    return with_article(rng.choice(questions("story about")), hero)


def with_article(wording: str, hero: str) -> str:
    text = wording.format(hero=hero)
    return text.replace(f" a {hero}", f" an {hero}") if hero[0] in "aeiou" else text


def story(hero: str, rng: Random) -> str:
    name, trait, home = rng.choice(NAMES), rng.choice(TRAITS), rng.choice(HOMES)
    helper, place, find = rng.choice(HELPERS), rng.choice(PLACES), rng.choice(FINDS)
    told = [
        f"Once upon a time there was a {trait} {hero} called {name}, who lived {home}.",
        f"{rng.choice(WEATHERS)}, {name} found {find} in the grass.",
        rng.choice((f"“Where does this come from?” asked {name}.", f"“I must find out what this means,” said {name}.")),
        rng.choice(
            (
                f"So the {hero} packed some bread and set out into the world.",
                f"The {hero} did not wait and began to walk.",
            )
        ),
        f"On the way {name} met {helper}.",
        f"“Follow the river until you come to {place},” said {helper.split(' ', 1)[1]} and smiled.",
        rng.choice(
            (
                f"It was a long way, but {name} did not give up.",
                f"The road was steep, and {name} grew tired, but went on.",
            )
        ),
        f"At last {name} came to {place} and found {rng.choice(TREASURES)}.",
        rng.choice(
            (
                f"{name} was very happy and went home before the night came.",
                f"{name} laughed and told everybody at home about it.",
            )
        ),
        f"From that day on the {hero} knew that {rng.choice(LESSONS)}.",
    ]
    if rng.random() < 0.5:
        told.append("The end.")
    text = " ".join(told)
    # "the owl" was met as "an old owl": the helper's words go on being said by "the ...".
    return text.replace(f"said {helper.split(' ', 1)[1]}", f"said the {helper.split(' ', 1)[1]}")
