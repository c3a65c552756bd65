"""Seeds: a number of each key's own, the same on every machine."""

from engram.job import seeds


def test_every_key_has_draws_of_its_own():
    keys = [(0, "mini", "edit", 1), (0, "mini", "edit", 2), (1, "mini", "edit", 1), (0, "mini", "edit1"), (0, "mini")]
    found = [seeds.seed_of(*key) for key in keys]
    assert len(set(found)) == len(keys) and all(0 <= seed < 2**63 for seed in found)
    assert seeds.rng(0, "a").random(3).tolist() == seeds.rng(0, "a").random(3).tolist()
    assert seeds.rng(0, "a").random() != seeds.rng(0, "b").random()


def test_a_seed_is_that_of_every_run_before():
    """A changed hash would change every number of every run."""
    assert seeds.seed_of(0, "mini", "edit", 7) == 1181896312126073530
