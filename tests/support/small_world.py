"""Settings of a world small enough for seconds."""

WORLD = {
    "kind": "world",
    "subjects": 40,
    "relations": 4,
    "objects": 5,
    "documents": 60,
    "articles": 8,
    "listed": 0.5,
    "four_words": 0.5,
}
