"""The schemas of what a model is and of what it is asked: outputs of the stages before the first that has a model."""

from engram.job.schema_checks import BY_NAME, FLAG, NUMBER, TEXT, TEXT_MAP, TEXTS, WHOLE, Document, Table, column

CASE = column("case_id", WHOLE, "the record")
RELATION = column("relation_id", TEXT, "the record's relation: its id of Wikidata, or the name that an atlas gives it")
MODEL = column("model", TEXT, "the model, as params.yaml names it")
PROBABILITY = "probability"
NATS = "nats per token"


# Stage dataset: one shape for every source.

FACTS = Table("facts", "one record of the shape of CounterFact", ("case_id",)).with_columns(
    CASE,
    RELATION,
    column("prompt", TEXT, "template of the prompt that is edited; {} is the subject"),
    column("subject", TEXT, "the subject"),
    column("target_new", TEXT, "the object that is edited in"),
    column("target_new_id", TEXT, "its id"),
    column("target_true", TEXT, "the object that a model which knows the fact gives"),
    column("target_true_id", TEXT, "its id"),
    column("paraphrase_prompts", TEXTS, "the fact in other words, after an unrelated sentence"),
    column("neighborhood_prompts", TEXTS, "prompts about other subjects with the true object"),
    column("attribute_prompts", TEXTS, "prompts about other subjects with the new object"),
    column("generation_prompts", TEXTS, "beginnings of texts about the subject"),
)
ZSRE = Table("zsre", "one record of the shape of zsRE", ("case_id",)).with_columns(
    CASE,
    column("subject", TEXT, "the subject"),
    column("prompt", TEXT, "template of the question that is edited; {} is the subject"),
    column("target_new", TEXT, "the object that is edited in"),
    column("target_true", TEXT, "the object that a model which knows the fact gives"),
    column("rephrase", TEXT, "the question in other words"),
    column("loc", TEXT, "an unrelated question, without its question mark"),
    column("loc_target", TEXT, "the true object of the unrelated question"),
)
PROMPTS = Table("prompts", "one fact prompt for causal tracing", ("prompt_id",)).with_columns(
    column("prompt_id", WHOLE, "the prompt"),
    RELATION,
    column("prompt", TEXT, "the prompt; the object follows it"),
    column("subject", TEXT, "the subject, as it occurs in the prompt"),
    column("target_true", TEXT, "the object that a model which knows the fact gives"),
)
SNIPPETS = Table("snippets", "one text about a name that has a given object under a relation").with_columns(
    RELATION,
    column("target_id", TEXT, "id of the object"),
    column("name", TEXT, "what the text is about"),
    column("text", TEXT, "the text"),
)
ARTICLES = Table(
    "text",
    "one article, for second moments of keys and for the noise of whole texts",
    ("article_id",),
    may_be_empty="the source has no text: stage `text` samples it from the model",
).with_columns(
    column("article_id", WHOLE, "the article"), column("title", TEXT, "its title"), column("text", TEXT, "its text")
)
CORPUS = Table("corpus", "one training document of a model trained here", ("document_id",)).with_columns(
    column("document_id", WHOLE, "the document"),
    column("kind", TEXT, "biography, statements or text"),
    column("weight", NUMBER, "how often it is read, relative to the others"),
    column("text", TEXT, "the document"),
)
HELDOUT = Table(
    "heldout",
    "one passage of text that is in no training document",
    ("passage_id",),
    may_be_empty="the source holds no such passage",
).with_columns(column("passage_id", WHOLE, "the passage"), column("text", TEXT, "the passage"))
REVERSED = Table(
    "reversed",
    "one record of `facts` whose relation can be asked in the other order",
    ("case_id",),
    may_be_empty="no relation of the source has a wording in the other order",
).with_columns(CASE, column("prompt", TEXT, "the prompt in the other order, with the subject"))

HOPS = Table(
    "hops",
    "one question about a record of `facts` whose answer follows from its object by a second relation",
    ("case_id", "prompt"),
    may_be_empty="the source does not say what its objects have under other relations",
).with_columns(
    CASE,
    column("prompt", TEXT, "the question in one step, with the subject; the answer follows it"),
    column("target_true", TEXT, "the answer that follows from the true object"),
    column("target_new", TEXT, "the answer that follows from the new object"),
)

# Stage fetch.

FETCHED = Table(
    "records",
    "one record of an original file",
    may_be_empty="the file is one thing, a matrix or an editor, without records",
).with_columns(
    column("name", TEXT, "the file"),
    column("id", TEXT, "what the file calls the record, else its number"),
    column("sha256", TEXT, "hash of the record"),
)
RECEIPT = Document("receipt", "one original file").with_keys(
    column("name", TEXT, "the file"),
    column("place", TEXT, "the place that gave it"),
    column("records", WHOLE, "its records"),
    column("bytes", WHOLE, "its size", "bytes"),
    column("sha256", TEXT, "hash of its bytes"),
)

# Stage train.

TRAIN_LOSS = Table("loss", "one step of training", ("step",)).with_columns(
    MODEL,
    column("step", WHOLE, "the step, from 0"),
    column("rate", NUMBER, "Adam's rate in this step"),
    column("loss", NUMBER, "mean of the batch", NATS),
)

# Stages convert and checkpoint: what a model is.

QUANTISATION = column(
    "quantisation", TEXT, "how most of the weights were quantised, as Q4_1", null="they were not, as far as is known"
)
LICENCE = column("licence", TEXT, "the licence of the checkpoint", null="the checkpoint states none")
ORIGIN = Document("origin", "what the weights of a model were converted from").with_keys(
    MODEL, QUANTISATION, LICENCE, column("files", TEXT_MAP, "the files that were read, each with its sha256")
)
MANIFEST = Document("manifest", "what a model is").with_keys(
    MODEL,
    column("kind", TEXT, "where it comes from: trained, folder, hub or gguf"),
    column("source", TEXT, "the folder, the id on the hub, the GGUF file, or the model's name"),
    column("commit", TEXT, "commit of the hub", null="it is not from the hub"),
    column("architecture", TEXT, "transformers' model_type"),
    column("dtype", TEXT, "of the weights as they are loaded"),
    column("parameters", WHOLE, "numbers in its weights, tied ones once"),
    column("tied", FLAG, "whether the head is the embedding"),
    column("weights", TEXT, "sha256 over the names, types, shapes and bytes of its tensors as they are loaded"),
    column("tokenizer", TEXT, "hash of all that decides which tokens a text becomes"),
    QUANTISATION,
    LICENCE,
    column("files", TEXT_MAP, "the files that it is loaded from, each with its sha256"),
    column("bytes", BY_NAME, "their sizes", "bytes"),
)
