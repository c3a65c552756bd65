"""The original formats: every malformed record is said with its id and field; the real files parse completely."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from tokenizers import ByteLevelBPETokenizer
from transformers import PreTrainedTokenizerFast

import original_files
from engram.datasets import original_formats
from engram.evaluation import text_metrics
from engram.model import tokens

SHARED = Path(__file__).parents[3] / "shared" / "data"
real = pytest.mark.skipif(
    not SHARED.exists(), reason="the original files are not beside the repository (../shared/data)"
)


def fact(number: int, **more) -> dict:
    return original_files.fact(number, "Jim says", **more.pop("requested_rewrite", {})) | more


def said(parse, path: Path, values) -> list[str]:
    """The lines of the error of a parser, without the file's name."""
    path.write_text(values if isinstance(values, str) else json.dumps(values), encoding="utf-8")
    with pytest.raises(ValueError, match=re.escape(f"{path}: ")) as error:
        parse(path)
    lines = str(error.value).splitlines()
    assert all(line.startswith(f"{path}: ") for line in lines)
    return [line.removeprefix(f"{path}: ") for line in lines]


def test_every_problem_of_counterfact_is_said_at_once(tmp_path):
    values = [
        fact(0),
        fact(1, requested_rewrite={"target_new": {"str": "", "id": "Q1"}}),
        fact("2"),
        "text",
        fact(4, requested_rewrite={"prompt": "Jim speaks", "subject": " "}),
        fact(5, paraphrase_prompts=["x", 3]),
        {key: value for key, value in fact(6).items() if key != "requested_rewrite"},
        fact(0),
        fact(8, requested_rewrite={"target_true": "Greek"}),
    ]
    assert said(original_formats.counterfact, tmp_path / "f", values) == [
        "record 1 (case_id 1), requested_rewrite, target_new: field 'str' should be a non-empty str, found ''",
        "record 2 (case_id 2): field 'case_id' should be a non-empty int, found '2'",
        "record 3 (case_id ?): expected an object, found str",
        "record 4 (case_id 4), requested_rewrite: field 'prompt' must hold exactly one {}, found 'Jim speaks'",
        "record 4 (case_id 4), requested_rewrite: field 'subject' should be a non-empty str, found ' '",
        "record 5 (case_id 5): field 'paraphrase_prompts' should be a non-empty list, found ['x', 3]",
        "record 6 (case_id 6): field 'requested_rewrite' is missing; found ['attribute_prompts', 'case_id', "
        "'generation_prompts', 'neighborhood_prompts', 'paraphrase_prompts']",
        "record 8 (case_id 8), requested_rewrite: field 'target_true' should be a non-empty dict, found 'Greek'",
        "case_id 0 occurs twice",
    ]


def test_many_problems_are_counted(tmp_path):
    lines = said(
        original_formats.counterfact, tmp_path / "f", [fact(number, attribute_prompts=[]) for number in range(1500)]
    )
    assert len(lines) == 21 and lines[-1] == "and 1,480 more problems"


@pytest.mark.parametrize(
    ("parse", "values", "lines"),
    [
        (
            original_formats.zsre,
            [{"subject": "Zoë", "src": "What?", "answers": [], "rephrase": "x", "loc": "who won", "loc_ans": "nobody"}],
            [
                "record 0 (case_id 0): subject 'Zoë' does not occur in src 'What?'",
                "record 0 (case_id 0): field 'loc' should begin with 'nq question: ', found 'who won'",
                "record 0 (case_id 0): field 'answers' should be a non-empty list, found []",
            ],
        ),
        (
            original_formats.prompts,
            [
                {"known_id": number, "subject": "Zoë", "prompt": prompt, "attribute": attribute, "relation_id": "P19"}
                for number, prompt, attribute in (
                    (0, "Zoe lives in", "Rome"),
                    (1, "Zoë is", ""),
                    (2, "Zoë", "x"),
                    (2, "Zoë", "x"),
                )
            ],
            [
                "record 0 (known_id 0): subject 'Zoë' does not occur in prompt 'Zoe lives in'",
                "record 1 (known_id 1): field 'attribute' should be a non-empty str, found ''",
                "known_id 2 occurs twice",
            ],
        ),
        (
            original_formats.snippets,
            [
                {"relation_id": "P1", "target_id": "Q1", "samples": [{"name": "A", "text": ""}, 3]},
                {"relation_id": "P1", "target_id": "Q2"},
            ],
            [
                "record 0 (relation_id P1, target_id Q1), sample 0: field 'text' should be a non-empty str, found ''",
                "record 0 (relation_id P1, target_id Q1), sample 1: expected an object, found int",
                "record 1 (relation_id P1, target_id Q2): field 'samples' should be a list",
            ],
        ),
        (
            lambda path: list(original_formats.articles(path)),
            '{"id": 7, "title": "T"}\n{"title": "T", "te',
            [
                "line 1 (id 7): field 'text' is missing; found ['id', 'title']",
                "line 2: not json (Unterminated string starting at at character 16); the file may be truncated",
            ],
        ),
        (
            original_formats.vocabulary,
            {"a": 0, "b": 2},
            ["expected an object that gives each word its own number from 0 on"],
        ),
        (original_formats.idf, "NUMPY", ["not an array of numpy (.npy), or truncated: "]),
        (original_formats.editor, "text", ["not an archive that torch writes (.pt)"]),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_the_other_formats(tmp_path, parse, values, lines):
    found = said(parse, tmp_path / "f", values)
    assert len(found) == len(lines) and all(line.startswith(start) for line, start in zip(found, lines)), found


def test_articles_end_with_a_newline_alone(tmp_path):
    (tmp_path / "f").write_text('{"id": "1", "title": "T", "text": "one\u2028line\x85"}\n\n', encoding="utf-8")
    assert [row["text"] for row in original_formats.articles(tmp_path / "f")] == ["one\u2028line\x85"]


def test_snippets_and_published_tables_give_the_similarity_of_the_fitted_ones(tmp_path):
    """RS by tables that were fitted on the same texts and written to files is RS by fitting; other tables change it."""
    import pandas as pd
    from sklearn.feature_extraction.text import TfidfVectorizer

    values = [
        {
            "relation_id": "P1",
            "target_id": f"Q{n}",
            "samples": [{"name": f"A{i}", "text": f"plays {w} in {c}"} for i, c in enumerate(("Rome", "Oslo"))],
        }
        for n, w in enumerate(("piano", "chess", "golf"))
    ]
    (tmp_path / "s").write_text(json.dumps(values))
    snippets = pd.DataFrame(original_formats.snippets(tmp_path / "s"))
    fitted = TfidfVectorizer().fit(snippets["text"])
    (tmp_path / "v").write_text(json.dumps({word: int(at) for word, at in fitted.vocabulary_.items()}))
    for factor in (1, np.arange(1, len(fitted.idf_) + 1)):
        np.save(tmp_path / "idf.npy", fitted.idf_ * factor)
        space = text_metrics.published(
            original_formats.vocabulary(tmp_path / "v"), original_formats.idf(tmp_path / "idf.npy")
        )
        pair = [
            text_metrics.References(snippets, one).similarity(["he plays golf in Rome"], "P1", "Q1")
            for one in (None, space)
        ]
        assert (pair[0] == pytest.approx(pair[1])) == np.isscalar(factor)
    with pytest.raises(ValueError, match="do not belong together: 7 words, 3 weights"):
        text_metrics.published(original_formats.vocabulary(tmp_path / "v"), np.ones(3))


@pytest.fixture(scope="module")
def gpt2():
    inner = ByteLevelBPETokenizer(str(SHARED / "encoder.json"), str(SHARED / "vocab.bpe"))._tokenizer
    return PreTrainedTokenizerFast(tokenizer_object=inner, clean_up_tokenization_spaces=False)


def is_right(tokenizer, text: str, subject: str) -> bool:
    """The tokens of the range spell the subject, no fewer of them do, and what stands around completes the text."""
    ids, (begin, end) = tokens.encode(tokenizer, text), tokens.subject_range(tokenizer, text, subject)
    spelt = [
        tokenizer.decode(ids[a:b])
        for a, b in ((begin, end), (begin + 1, end), (begin, end - 1), (0, begin), (end, None))
    ]
    assert spelt[3] + spelt[0] + spelt[4] == text
    return (
        subject in spelt[0]
        and subject not in spelt[1]
        and subject not in spelt[2]
        and len(spelt[3]) <= text.index(subject)
    )


@real
def test_the_real_files_with_the_vocabulary_of_gpt2(gpt2, capsys):
    assert len(gpt2) == 50257
    facts = original_formats.counterfact(SHARED / "counterfact_500.json")
    asked = {
        "CounterFact records": [(row["prompt"].replace("{}", row["subject"]), row["subject"]) for row in facts],
        "zsRE records": [
            (row["prompt"].replace("{}", row["subject"]), row["subject"])
            for row in original_formats.zsre(SHARED / "zsre_1037.json")
        ],
        "fact prompts": [
            (row["prompt"], row["subject"]) for row in original_formats.prompts(SHARED / "known_1000.json")
        ],
    }
    right = {name: sum(is_right(gpt2, *pair) for pair in pairs) for name, pairs in asked.items()}
    foreign = [pair for pair in asked["fact prompts"] if not pair[1].isascii()]
    spelt = sum(is_right(gpt2, *pair) for pair in foreign)
    with capsys.disabled():
        print(f"\nsubject ranges right: {right}, of them {spelt} fact prompts with non-ASCII subjects")
    assert (
        right == {"CounterFact records": 500, "zsRE records": 1037, "fact prompts": 1209} and len(foreign) == spelt == 9
    )
    assert original_formats.multi_counterfact(SHARED / "counterfact_500.json") == facts
    assert len(list(original_formats.articles(SHARED / "wikipedia_sample.jsonl"))) == 765
