"""The schemas of all tables and documents that stages write: columns in order, types, units, meaning, missing values.

`OUTPUTS[stage][output]` is the schema of what a stage's script writes under the name of that output. `Job.write` checks
it; readers pass the schema to `io.read_table` or `io.read_json`. `engram tables` makes docs/tables.md from here.
"""

import pyarrow as pa

from engram.job.input_schemas import (
    ARTICLES,
    CASE,
    CORPUS,
    FACTS,
    FETCHED,
    HELDOUT,
    HOPS,
    MANIFEST,
    MODEL,
    NATS,
    ORIGIN,
    PROBABILITY,
    PROMPTS,
    RECEIPT,
    RELATION,
    REVERSED,
    SNIPPETS,
    TRAIN_LOSS,
    ZSRE,
)
from engram.job.schema_checks import BY_NAME, FLAG, NUMBER, TEXT, TEXTS, WHOLE, Document, Table, about, column

# Stage known.

KNOWN_PROMPTS = Table("known_prompts", "one fact prompt, as a model continues it", ("prompt_id",)).with_columns(
    MODEL,
    *PROMPTS.schema,
    column("answer", TEXT, "the model's most probable next token, as text"),
    column("answer_id", WHOLE, "id of that token"),
    column("probability", NUMBER, "of that token", PROBABILITY),
    column("correct", FLAG, "whether every token of the true object is the most probable one"),
)


def _known_records(name: str, records: str) -> Table:
    return Table(name, f"one record of `{records}`, as a model answers it", ("case_id",)).with_columns(
        MODEL,
        CASE,
        column("correct", FLAG, "whether every token of the true object is the most probable one"),
        column("probability", NUMBER, "geometric mean over the tokens of the true object", PROBABILITY),
    )


KNOWN_FACTS = _known_records("known_facts", "facts")
KNOWN_ZSRE = _known_records("known_zsre", "zsre")

# Stages prefixes, covariance, noise: what editing and tracing take from the unedited model.

PREFIXES = Table(
    "prefixes", "one context text, sampled from the model, that is put before a prompt", ("family", "prefix_index")
).with_columns(
    MODEL,
    column("family", TEXT, "which methods read it: `rome` or `memit`"),
    column("prefix_index", WHOLE, "its number in the family, from 0"),
    column("length", WHOLE, "its length, the start counted", "tokens"),
    column("text", TEXT, "the text, without braces"),
)
COUNTS = Document("counts", "the second moments of a model's keys").with_keys(
    MODEL,
    column("weights", TEXT, "whose keys they are: hash over the model's tensors, as in its manifest"),
    column("tokenizer", TEXT, "hash of all that decides which tokens a text becomes"),
    column("articles", WHOLE, "articles that were read"),
    column("dataset", TEXT, "hash of those articles"),
    column("max_tokens", WHOLE, "of an article, its first", "tokens"),
    column("batch_tokens", WHOLE, "of one batch", "tokens"),
    column("dtype", TEXT, "type of the running sum"),
    column("ridge", NUMBER, "what is added to the diagonal before it is solved with, relative to its mean"),
    column("tokens", BY_NAME, "keys of each layer", "tokens"),
    column("width", BY_NAME, "length of a key of each layer"),
    column("rank", BY_NAME, "rank of the second moment of each layer"),
)
NOISE = Document("noise", "the corruption of a model's subjects").with_keys(
    column("rule", TEXT, "the rule, as params.yaml writes it"),
    column("kind", TEXT, "what is drawn from: number, std, uniform, uniform_std, normal or student"),
    column("sigma", NUMBER, "size of the noise", "embedding units", null="the rule draws from moments of texts"),
    column("degrees", NUMBER, "degrees of freedom", null="the rule is not Student's t"),
    column("embedding_std", NUMBER, "standard deviation of the subjects' embeddings", "embedding units"),
    column("count", WHOLE, "numbers that it was taken over"),
    column("subjects", WHOLE, "subjects that it was taken over"),
    column("articles", WHOLE, "articles that moments were taken over", only="rules m and t"),
    column("text_tokens", WHOLE, "tokens of those articles", "tokens", only="rules m and t"),
)

# Stages trace and gradients.

VARIANT = column("variant", TEXT, "the variant of tracing, as params.yaml names it")
PROMPT_ID = column("prompt_id", WHOLE, "the prompt, as in table `known_prompts`")
PLACE = (
    column("site", TEXT, "what is restored: hidden state, a window of mlp or attn; no_mlp, no_attn: severed"),
    column("token", WHOLE, "position of the token in the prompt, from 0"),
    column("layer", WHOLE, "the block, from 0; of a window, its middle"),
)
PATCH = ("prompt_id", "site", "token", "layer")
TRACED_PROMPT = (
    column("prompt", TEXT, "the prompt"),
    column("subject", TEXT, "the subject"),
    column("answer", TEXT, "the token whose probability is traced, as text"),
    column("tokens", TEXTS, "the tokens of the prompt, as text"),
    column("subject_begin", WHOLE, "position of the subject's first token"),
    column("subject_end", WHOLE, "position after the subject's last token"),
    column("clean", NUMBER, "of the answer, without corruption", PROBABILITY),
    column("corrupted", NUMBER, "of the answer, subject corrupted, mean over the samples", PROBABILITY),
)
EFFECTS = Table("effects", "one restored state of the corrupted run of one prompt", PATCH).with_columns(
    MODEL,
    VARIANT,
    PROMPT_ID,
    *PLACE,
    column("score", NUMBER, "of the answer with this state restored, mean over the samples", PROBABILITY),
)
TRACED = Table("traced", "one traced prompt", ("prompt_id",)).with_columns(MODEL, VARIANT, PROMPT_ID, *TRACED_PROMPT)
ATTRIBUTIONS = Table(
    "attributions", "one activation, by integrated gradients from the corrupted to the clean run", PATCH
).with_columns(
    MODEL,
    PROMPT_ID,
    *PLACE,
    column("attribution", NUMBER, "the activation's share of the probability of the answer", PROBABILITY),
    column("baseline", NUMBER, "of the answer where the line begins, one for all tokens of a layer", PROBABILITY),
)
ATTRIBUTED = Table("attributed", "one prompt of `attributions`", ("prompt_id",)).with_columns(
    MODEL, PROMPT_ID, *TRACED_PROMPT
)

# Stages targets and hypernet.

STEPS = Table("steps", "one step of the optimisation of one record's value", ("case_id", "step")).with_columns(
    MODEL,
    column("dataset", TEXT, "counterfact or zsre"),
    column("family", TEXT, "the family of methods that share the value"),
    CASE,
    column("step", WHOLE, "the step, from 0"),
    column("loss", NUMBER, "what is minimised: the sum of the other three", "nats"),
    column("nll", NUMBER, "negative log-likelihood of the new object, mean over contexts", NATS),
    column("kl", NUMBER, "weighted drift of the essence prompt", "nats"),
    column("decay", NUMBER, "weighted length of the change, relative to the squared length of the value"),
)
HYPERNET_LOSS = Table(
    "loss",
    "one look at the losses of a trained editor",
    ("split", "step"),
    may_be_empty="the editor is a published one",
).with_columns(
    MODEL,
    column("name", TEXT, "the editor, as params.yaml names it"),
    column("split", TEXT, "train or validation"),
    column("step", WHOLE, "steps done"),
    column("edit", NUMBER, "negative log-likelihood of edits", NATS),
    column("locality", NUMBER, "drift of other texts", "nats"),
    column("total", NUMBER, "weighted sum, which is minimised"),
)

# Stages edit and evaluate.

N = column("n", WHOLE, "facts edited together, or the group's word: 1000by100, 100of3", other=TEXT)
EDITED = (
    MODEL,
    column("dataset", TEXT, "counterfact or zsre"),
    column("method", TEXT, "the method, as params.yaml names it; its variant, if it has one"),
    N,
)
AFTER = column("after", WHOLE, "facts that the edited model holds when it is read")
SCORES = Table(
    "scores",
    "one object after one prompt, read by the edited model",
    ("after", "case_id", "kind", "prompt_index", "token", "target"),
).with_columns(
    *EDITED,
    AFTER,
    CASE,
    column("kind", TEXT, "of the prompt: rewrite, paraphrase, neighborhood, attribute, reverse"),
    column("prompt_index", WHOLE, "number of the prompt among those of its kind, from 0"),
    column("token", WHOLE, "position in the object, from 0: every token is read by itself", only="zsre"),
    column("target", TEXT, "which object: new or true"),
    column("nll", NUMBER, "its negative log-likelihood", NATS),
    column("correct", FLAG, "whether each of its tokens is the most probable one"),
)
TEXTS_WRITTEN = Table(
    "texts",
    "one text that the edited model writes",
    ("after", "case_id", "prompt_index"),
    may_be_empty="no item of the paper reads texts of these edits",
).with_columns(
    *EDITED,
    AFTER,
    CASE,
    column("prompt_index", WHOLE, "number of the generation prompt, from 0"),
    column("prompt", TEXT, "the beginning"),
    column("text", TEXT, "the text, its beginning included"),
)
NORMS = Table(
    "norms",
    "one changed parameter of one edited model",
    ("after", "case_id", "weight"),
    may_be_empty="the method changes no parameter",
).with_columns(
    *EDITED,
    AFTER,
    CASE,
    column("layer", WHOLE, "its block, from 0; -1 outside of the blocks"),
    column("weight", TEXT, "name of the parameter"),
    column("delta_norm", NUMBER, "Frobenius norm of the change"),
    column("weight_norm", NUMBER, "Frobenius norm of the original parameter"),
)
DRIFT = Table(
    "drift",
    "one passage that one edited model reads",
    ("after", "case_id", "passage_id"),
    may_be_empty="no item of the paper reads the drift of these edits",
).with_columns(
    *EDITED,
    AFTER,
    column("case_id", WHOLE, "the first record that the model holds"),
    column("passage_id", WHOLE, "the passage, as in table `heldout`"),
    column("nll", NUMBER, "mean negative log-likelihood of its tokens, edited model", NATS),
    column("nll_before", NUMBER, "mean negative log-likelihood of its tokens, unedited model", NATS),
    column("tokens", WHOLE, "tokens that count: none of an object that was replaced", "tokens"),
)


def _metrics(letter: str, kind: str, wanted: str, only: str = "counterfact", null: str = "") -> list[pa.Field]:
    """Success, magnitude and accuracy of the prompts of one kind, after which one object is `wanted`."""
    other = "true" if wanted == "new" else "new"
    success = f"{kind}: share of prompts after which the {wanted} object is the more probable one"
    magnitude = f"{kind}: p({wanted}) - p({other}), mean over prompts"
    accuracy = f"{kind}: share of prompts (zsre: of tokens) where the {wanted} object is the most probable"
    return [
        column(f"{letter}S", NUMBER, success, "share", null, only),
        column(f"{letter}M", NUMBER, magnitude, PROBABILITY, null, only),
        column(f"{letter}A", NUMBER, accuracy, "share", null, "" if only == "counterfact" else only),
    ]


RECORDS = Table("records", "the metrics of one record", ("after", "case_id")).with_columns(
    *EDITED,
    column("relation_id", TEXT, about(RELATION, "meaning"), only="counterfact"),
    AFTER,
    CASE,
    *_metrics("E", "rewrite", "new"),
    *_metrics("P", "paraphrase", "new"),
    *_metrics("N", "neighborhood", "true"),
    *_metrics("V", "reverse", "new", "counterfact, if it has reverse prompts", "the record has no reverse prompt"),
    column("GE", NUMBER, "fluency: entropy of the texts' n-grams", "bits", "no text was written", "counterfact"),
    column("RS", NUMBER, "consistency: cosine to the snippets", "", "no text was written", "counterfact"),
)
SUMMARY = Table("summary", "one metric over all records", ("after", "metric")).with_columns(
    *EDITED,
    AFTER,
    column("metric", TEXT, "the metric: a column of `records`, or S, the harmonic mean"),
    column("value", NUMBER, "its mean", "percent"),
    column("ci", NUMBER, "half width of the 95% interval", "percent", null="S is 0"),
    column("count", WHOLE, "records that have it"),
)

DATASET = {
    "facts": FACTS,
    "zsre": ZSRE,
    "prompts": PROMPTS,
    "snippets": SNIPPETS,
    "text": ARTICLES,
    "corpus": CORPUS,
    "heldout": HELDOUT,
    "reversed": REVERSED,
    "hops": HOPS,
}
OUTPUTS: dict[str, dict[str, Table | Document]] = {
    "fetch": {"records": FETCHED, "receipt": RECEIPT},
    "dataset": dict(DATASET),
    "train": {"loss": TRAIN_LOSS},
    "convert": {"origin": ORIGIN},
    "checkpoint": {"manifest": MANIFEST},
    "sampled": {"text": ARTICLES, "heldout": HELDOUT},
    "known": {"known_prompts": KNOWN_PROMPTS, "known_facts": KNOWN_FACTS, "known_zsre": KNOWN_ZSRE},
    "prefixes": {"prefixes": PREFIXES},
    "covariance": {"counts": COUNTS},
    "noise": {"noise": NOISE},
    "trace": {"effects": EFFECTS, "traced": TRACED},
    "gradients": {"attributions": ATTRIBUTIONS, "attributed": ATTRIBUTED},
    "targets": {"steps": STEPS},
    "hypernet": {"loss": HYPERNET_LOSS},
    "edit": {"scores": SCORES, "texts": TEXTS_WRITTEN, "norms": NORMS, "drift": DRIFT},
    "evaluate": {"records": RECORDS, "summary": SUMMARY},
}
# What stages edit: the records of a data set, and which of them the model knows.
RECORDS_OF = {"counterfact": FACTS, "zsre": ZSRE}
KNOWN_OF = {"counterfact": KNOWN_FACTS, "zsre": KNOWN_ZSRE}
