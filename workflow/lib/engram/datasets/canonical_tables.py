"""The canonical tables of stage `dataset`: one schema per table, the same for every source.

facts     one row per CounterFact-shaped record: requested rewrite; paraphrase, neighbourhood, attribute, generation prompts
zsre      one row per zsRE-shaped record: question, its rephrasing, the answer that is edited in, the answer that a model which
          knows the fact gives; `loc`, an unrelated question without its question mark, and its true answer
prompts   one row per fact prompt for causal tracing
snippets  one row per attribute text: what is written about a name that has `target_id` under `relation_id`
text      one row per article (covariance)
corpus    one row per training document of a model trained here; `weight` = relative frequency
heldout   one row per passage of text that is in no training document
reversed  one row per record of `facts` whose relation can be asked in the other order, and that prompt
"""

import pandas as pd

_S, _I, _L, _F = "string", "int64", "list", "float64"
SCHEMAS = {
    "facts": {
        "case_id": _I,
        "relation_id": _S,
        "prompt": _S,
        "subject": _S,
        "target_new": _S,
        "target_new_id": _S,
        "target_true": _S,
        "target_true_id": _S,
        "paraphrase_prompts": _L,
        "neighborhood_prompts": _L,
        "attribute_prompts": _L,
        "generation_prompts": _L,
    },
    "zsre": {
        "case_id": _I,
        "subject": _S,
        "prompt": _S,
        "target_new": _S,
        "answer": _S,
        "rephrase": _S,
        "loc": _S,
        "loc_answer": _S,
    },
    "prompts": {"prompt_id": _I, "relation_id": _S, "prompt": _S, "subject": _S, "attribute": _S},
    "snippets": {"relation_id": _S, "target_id": _S, "name": _S, "text": _S},
    "text": {"article_id": _I, "title": _S, "text": _S},
    "corpus": {"document_id": _I, "kind": _S, "weight": _F, "text": _S},
    "heldout": {"passage_id": _I, "text": _S},
    "reversed": {"case_id": _I, "prompt": _S},
}
MAY_BE_EMPTY = ("heldout", "reversed")
_DTYPES = {_S: "str", _I: "int64", _L: "object", _F: "float64"}
_CHECKS = {
    _S: lambda v: isinstance(v, str),
    _I: lambda v: isinstance(v, int) and not isinstance(v, bool),
    _F: lambda v: isinstance(v, float),
    _L: lambda v: isinstance(v, list) and all(isinstance(item, str) for item in v),
}


def table(name: str, rows: list[dict]) -> pd.DataFrame:
    """Rows as the canonical table `name`. ValueError names the row, the column and the type that would be right."""
    schema = SCHEMAS[name]
    for index, row in enumerate(rows):
        if set(row) != set(schema):
            raise ValueError(f"table {name}, row {index}: columns {sorted(row)}, expected {sorted(schema)}")
        for column, kind in schema.items():
            if not _CHECKS[kind](row[column]):
                raise ValueError(f"table {name}, row {index}, column {column}: {row[column]!r} is not a {kind}")
    if not rows and name in MAY_BE_EMPTY:
        return pd.DataFrame(columns=list(schema)).astype({column: _DTYPES[kind] for column, kind in schema.items()})
    if not rows:
        raise ValueError(f"table {name}: no rows")
    return pd.DataFrame(rows, columns=list(schema))
