"""Every stage's tables have schemas, every reader passes one, and docs/tables.md is what they say."""

import ast
from pathlib import Path

import pytest

from engram.job import schema_page, schemas
from engram.job.schema_checks import Table, about
from repository import ROOT

OTHERS = {  # outputs in formats of their own: of transformers, of safetensors, an original file
    "train": {"weights", "model_config", "generation_config", "tokenizer", "tokenizer_config"},
    "convert": {"weights", "model_config", "generation_config", "tokenizer", "tokenizer_config"},
    "covariance": {"moments"},
    "noise": {"vectors"},
    "targets": {"targets"},
    "hypernet": {"hypernet"},
    "fetch": {"original"},
}
SCRIPTS = sorted((ROOT / "workflow/scripts").glob("*.py"))


def calls(path: Path) -> list[ast.Call]:
    return [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_every_output_of_a_stage_has_a_schema_or_a_format_of_its_own(script):
    (call,) = [call for call in calls(script) if ast.unparse(call.func) == "arguments.parse"]
    (names,) = [ast.literal_eval(word.value) for word in call.keywords if word.arg == "outputs"]
    outputs = {name.replace("-", "_") for name in names}
    assert outputs == set(schemas.OUTPUTS.get(script.stem, {})) | OTHERS.get(script.stem, set())


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_every_table_and_document_is_read_with_a_schema(path):
    for call in calls(path):
        function = ast.unparse(call.func)
        if function in ("io.read_table", "io.read_json"):
            assert len(call.args) == 2, f"{path.name}, line {call.lineno}: {ast.unparse(call)} passes no schema"
        assert function not in ("pd.read_parquet", "pd.read_csv", "json.loads"), f"{path.name}, line {call.lineno}"


def test_names_and_keys_of_schemas_are_their_own():
    for outputs in schemas.OUTPUTS.values():
        for output, schema in outputs.items():
            assert schema.name == output, "messages call a table as the script does"
            assert len(set(schema.schema.names)) == len(schema.schema)
            if isinstance(schema, Table):
                assert set(schema.key) <= set(schema.schema.names)
            assert all(about(field, "meaning") for field in schema.schema)


def test_the_page_of_tables_is_what_the_schemas_say():
    page = (ROOT / "docs/tables.md").read_text(encoding="utf-8")
    assert page == schema_page.page(), "docs/tables.md is stale: run `engram tables`"
