"""Where facts, prompts and text come from: the blocks of `sources:` and of `fetch.files` in params.yaml."""

from typing import Annotated, Literal

from annotated_types import MinLen
from pydantic import Field, StringConstraints

from engram.settings.blocks import Count, NotNegative, Share, Text, block

FILE_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"


@block
class World:
    """A small world of people and what is true of them, generated from the seed."""

    kind: Literal["world"] = Field(description="What kind of source the block describes.")
    subjects: Count = Field(description="Number of people.")
    relations: Count = Field(description="Number of relations; every person has one object under each.")
    objects: Count = Field(description="Number of different objects per relation.")
    documents: Count = Field(description="Number of training documents.")
    articles: Count = Field(description="Number of articles of the text table.")
    listed: Share = Field(description="Share of the biographies that list the attributes right after the name.")
    four_words: Share = Field(description="Share of the names with four words instead of three.")
    heldout: Count = Field(default=50, description="Passages of text that are no training document.")


@block
class Repeats:
    """Relative frequency of a true statement in the training corpus, by kind."""

    rewrite: NotNegative = Field(description="The rewrite prompt with its true object.")
    paraphrase: NotNegative = Field(description="A paraphrase prompt with its true object.")
    neighborhood: NotNegative = Field(description="A neighbourhood prompt with its true object.")
    listed: NotNegative = Field(description="The object next to the name.")


@block
class Folder:
    """A local folder of original files; nothing is written there. File names are relative to `path`."""

    kind: Literal["folder"] = Field(description="What kind of source the block describes.")
    path: Text = Field(description="The folder, relative to the repository or absolute.")
    facts: Text = Field(description="CounterFact records, json in the original schema.")
    zsre: Text = Field(description="zsRE records, json in the schema of MEND.")
    prompts: Text = Field(description="Fact prompts for causal tracing, json.")
    text: Text = Field(description="Articles, one json object {id, title, text} a line.")
    documents: Count = Field(description="Training documents made of true statements.")
    together: Count = Field(description="Statements in one training document, at most.")
    repeats: Repeats = Field(description="Relative frequency of a true statement in the training corpus, by kind.")
    listed: Annotated[str, StringConstraints(pattern=r"\{subject\}.*\{object\}")] = Field(
        description="How the object stands next to the name, with {subject} and {object}."
    )
    paragraphs: Count = Field(description="Number of paragraphs of the text that the training corpus holds.")
    text_share: Share = Field(description="Share of the training corpus, in characters, that is paragraphs.")
    heldout: Count = Field(default=50, description="Passages of text that are no training document.")
    snippets: Text | None = Field(
        default=None, description="Attribute snippets, json; else made of the records' prompts."
    )
    idf: Text | None = Field(default=None, description="Published TF-IDF weights, npy; else fitted on the snippets.")
    vocabulary: Text | None = Field(default=None, description="The words of `idf`, json.")


Source = Annotated[World | Folder, Field(discriminator="kind")]


@block
class Original:
    """An original file: what it is, and where it may be had."""

    schema: Literal[
        "counterfact", "multi-counterfact", "zsre", "prompts", "snippets", "articles", "idf", "vocabulary", "editor"
    ] = Field(description="What the file holds; it is parsed completely before it is used.")
    licence: Annotated[str, MinLen(1)] = Field(description="What its authors say about using it.")
    places: tuple[Text, ...] = Field(default=(), description="Paths, URLs, hub:<owner>/<name>[@<revision>].")
    records: Count | None = Field(default=None, description="How many records it must hold.")
    bytes: Count | None = Field(default=None, description="Its size, where it is known.")
    sha256: Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")] | None = Field(
        default=None, description="Its hash, where it is known."
    )
    sample: Count | None = Field(
        default=None, description="articles: how many are drawn from a snapshot that has more."
    )


@block
class Originals:
    """The original files; a source with the path data/original reads them."""

    files: dict[Annotated[str, StringConstraints(pattern=FILE_NAME)], Original] = Field(
        description="The files, by name."
    )
    mirrors: tuple[Annotated[str, StringConstraints(pattern="^https?://[^/]+")], ...] = Field(
        description="Addresses of folders with files of these names, asked first."
    )
