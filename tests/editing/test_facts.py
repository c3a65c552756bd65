"""Where in a prompt the key of a fact is looked up."""

from engram.editing.facts import Fact, lookups
from engram.settings import objective
from toy import lm


def test_where_the_key_is_looked_up():
    """The four places of ROME's Fig. 5, with the subject at the start, in the middle and at the end of a prompt."""
    tokenizer = lm("gpt2").tokenizer
    for prompt in ("{} is owned by", "The mother tongue of {} is", "In Rome there is {}"):
        fact = Fact(0, "Thomas James Martin", prompt, "chess")
        found = {token: lookups(tokenizer, fact, ["{}"], (5, 6), token)[0] for token in objective.TOKENS}
        text = prompt.replace("{}", fact.subject)
        ends = {token: len(tokenizer.decode(row.ids[: row.position + 1])) for token, row in found.items()}
        start = text.index(fact.subject)
        assert start < ends["subject_first"] <= start + len("Thomas")
        assert ends["subject_last"] == start + len(fact.subject)
        assert found["subject_first_after_last"].position == found["subject_last"].position + (
            not prompt.endswith("{}")
        )
        assert ends["last"] == len(text)
