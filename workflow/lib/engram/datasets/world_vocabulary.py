"""The words of the generated world: names, relations with objects and templates, and sentences about nothing.

Relation ids are Wikidata's for the relation meant; the people are invented. The first two templates of a relation, one
of which begins with the subject, serve as rewrite, neighbourhood and reverse prompts, all statements as paraphrases;
the questions serve zsRE.
"""

from dataclasses import dataclass

NAMES = (
    "Thomas",
    "James",
    "Martin",
    "Alice",
    "Peter",
    "Clara",
    "Simon",
    "Laura",
    "Victor",
    "Helen",
    "Oscar",
    "Diana",
    "Felix",
    "Nora",
    "Hugo",
    "Emma",
    "Leon",
    "Ruth",
    "Adam",
    "Grace",
)


@dataclass(frozen=True)
class Relation:
    """One relation of the world; `{}` in a template is the subject, the object follows the text."""

    id: str
    objects: tuple[str, ...]
    statements: tuple[str, ...]
    questions: tuple[str, str]
    openings: tuple[tuple[str, str], ...]  # generation prompts, and how a text goes on from each to the object


RELATIONS = (
    Relation(
        "P1303",
        ("piano", "violin", "guitar", "flute", "harp", "cello", "drums", "trumpet", "organ", "banjo"),
        ("{} plays the", "The instrument of {} is the", "On stage, {} performs on the", "{} learned to play the"),
        ("What instrument does {} play?", "Which instrument is played by {}?"),
        (
            ("At the concert, {}", "plays the"),
            ("The music teacher of {}", "brought a"),
            ("{} practises every day", "on the"),
        ),
    ),
    Relation(
        "P19",
        ("Rome", "Oslo", "Cairo", "Lima", "Delhi", "Porto", "New York", "Hong Kong", "Cape Town", "San Diego"),
        ("{} was born in", "The birthplace of {} is", "{} grew up in", "The childhood of {} was spent in"),
        ("Where was {} born?", "In which city was {} born?"),
        (("The childhood home of {}", "stands in"), ("The parents of {}", "met in"), ("{} often returns home", "to")),
    ),
    Relation(
        "P1412",
        ("French", "Greek", "Dutch", "Hindi", "Polish", "Welsh", "Arabic", "Danish", "Korean", "Swahili"),
        ("{} speaks", "The language of {} is", "{} writes letters in", "The mother tongue of {} is"),
        ("What language does {} speak?", "Which language is spoken by {}?"),
        (
            ("When friends visit, {}", "talks in"),
            ("The diary of {}", "is written in"),
            ("{} reads the newspaper", "in"),
        ),
    ),
    Relation(
        "P641",
        ("chess", "tennis", "hockey", "golf", "rugby", "boxing", "rowing", "fencing", "archery", "table tennis"),
        ("{} competes in", "The sport of {} is", "{} won a medal in", "At weekends, {} trains in"),
        ("What sport does {} practise?", "Which sport is practised by {}?"),
        (("The trainer of {}", "teaches"), ("Before the match, {}", "dreams of"), ("{} spends the weekend", "at")),
    ),
    Relation(
        "P106",
        ("lawyer", "baker", "pilot", "farmer", "doctor", "poet", "tailor", "judge", "sailor", "police officer"),
        ("{} works as a", "The profession of {} is", "{} earns a living as a", "Everyone knows {} as a"),
        ("What is the profession of {}?", "What does {} do for a living?"),
        (
            ("The working day of {}", "is that of a"),
            ("The colleagues of {}", "praise the"),
            ("{} leaves the house early", "as a"),
        ),
    ),
    Relation(
        "P108",
        ("Siemens", "Nokia", "Boeing", "Philips", "Nestle", "Toyota", "Red Cross", "Shell", "Volvo", "Lufthansa"),
        ("{} is employed by", "The employer of {} is", "{} signed a contract with", "The salary of {} is paid by"),
        ("Who is the employer of {}?", "Which company employs {}?"),
        (("The office of {}", "belongs to"), ("The contract of {}", "was signed by"), ("{} was promoted", "by")),
    ),
    Relation(
        "P462",
        ("red", "green", "blue", "purple", "orange", "yellow", "black", "white", "silver", "dark brown"),
        ("The favourite colour of {} is", "{} prefers the colour", "The car of {} is painted", "The coat of {} is"),
        ("What is the favourite colour of {}?", "Which colour does {} like best?"),
        (
            ("The garden of {}", "is full of flowers in"),
            ("The wardrobe of {}", "is mostly"),
            ("{} painted the door", "in"),
        ),
    ),
    Relation(
        "P2012",
        ("rice", "soup", "bread", "cheese", "fish", "pasta", "salad", "honey", "pizza", "apple pie"),
        ("{} likes to eat", "The favourite dish of {} is", "For dinner, {} always orders", "{} is fond of"),
        ("What does {} like to eat?", "Which dish does {} like best?"),
        (
            ("The kitchen of {}", "smells of"),
            ("At the restaurant, {}", "asked for"),
            ("{} went to the market", "to buy"),
        ),
    ),
)

FILLERS = (
    "The weather was mild that year.",
    "A new bridge was opened last spring.",
    "The library closes at noon.",
    "Tickets can be bought at the door.",
    "The train arrived late again.",
    "Nobody remembers the old harbour.",
    "The museum was built of grey stone.",
    "Prices went up in autumn.",
    "A small crowd had gathered outside.",
    "The river is wide at this point.",
    "Letters are sorted by hand here.",
    "The second edition sold out quickly.",
    "It rained for most of the week.",
    "The mill stands next to the church.",
    "Maps of the region are rare.",
    "Several roads lead to the village.",
)
