"""docs/tables.md: every table and document that a stage writes, from its schema (`engram tables`)."""

import pyarrow as pa

from engram.job import schemas
from engram.job.schema_checks import WORDS, Document, Table, about

HEAD = """# Tables

What stages write, from the schemas in `engram.job.schemas`; made by `engram tables`. Which file an output is stands in
the stage's rule, `workflow/rules/<stage>.smk`. Every file is checked against its schema when it is written and when it
is read. A value may be missing only where its column says when; a column that some files lack says which have it.
"""


def page() -> str:
    """The page as Markdown: for each stage its outputs, and for each of them one line a column or key."""
    parts = [HEAD]
    for stage, outputs in schemas.OUTPUTS.items():
        parts.append(f"\n## {stage}\n")
        parts += [_section(output, schema) for output, schema in outputs.items()]
    return "".join(parts)


def _section(output: str, schema: Table | Document) -> str:
    """Heading, a sentence on rows, and the table of columns of one output."""
    table = isinstance(schema, Table)
    text = f"A row is {schema.row}." if table else f"A json object: {schema.row}."
    if isinstance(schema, Table) and schema.key:
        text += f" No two rows have the same {', '.join(f'`{name}`' for name in schema.key)}."
    if isinstance(schema, Table) and schema.may_be_empty:
        text += f" It has no rows where {schema.may_be_empty}."
    head = f"| {'column' if table else 'key'} | type | unit | meaning |\n| --- | --- | --- | --- |\n"
    return f"\n### {output}\n\n{text}\n\n{head}{''.join(map(_line, schema.schema))}"


def _line(field: pa.Field) -> str:
    """One column or key as a line of a Markdown table."""
    other, only, null = (about(field, name) for name in ("other", "only", "null"))
    kind = WORDS[field.type] + (f", or {other}" if other else "")
    meaning = (
        about(field, "meaning") + (f"; only: {only}" if only else "") + (f"; missing where {null}" if null else "")
    )
    return f"| `{field.name}` | {kind} | {about(field, 'unit')} | {meaning} |\n"
