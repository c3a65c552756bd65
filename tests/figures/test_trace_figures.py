"""Figures of causal tracing: each number in a csv equals one computed here another way; choices are those of the stated
rules.
"""

import numpy as np
import pandas as pd
import pytest

from engram.drawing import style, trace_panels, trace_tables
from engram.tracing import selection
from fake_tables import numbers_of
from readable import AWKWARD, assert_readable

WORLDS = {  # name: (layers, window, model, shape of the prompts)
    "mini": (8, 2, "mini", {}),
    "shallow-single-token-subject": (6, 1, "cf500", {"subject": 1, "before": 0, "after": 2}),
    "deep-long-tokens": (48, 10, "gpt2-xl", {"subject": 6, "before": 4, "words": AWKWARD}),
    "deep-three-tokens": (44, 10, "gpt-neox-20b", {"subject": 1, "before": 0, "after": 2, "answer": " Antidisestabli"}),
}
VARIANTS = {"main": {"noise": "s3", "extra_tokens": 0}, "extra": {"noise": 0.1, "extra_tokens": 1}}


def csv(drawn, item):
    return pd.read_csv(drawn.made / f"{item}.csv", keep_default_na=False)


def scores(fakes, variant):
    """The fake tables of a variant as {(prompt, site, token, layer): score}, and the list of prompts."""
    traced = fakes.traced(variant=variant)
    table = {(row.prompt_id, row.site, row.token, row.layer): row.score for row in fakes.effects(traced).itertuples()}
    return table, list(traced.itertuples())


@pytest.mark.parametrize("world", WORLDS)
def test_figures_are_readable(world, fakes, monkeypatch):
    layers, window, model, shape = WORLDS[world]
    tables = {}
    for variant in ("main", "extra", "severed"):
        traced = fakes.traced(6, variant=variant, **shape)
        effects = fakes.effects(traced, layers).assign(model=model)
        tables[variant] = {"effects": effects, "traced": traced.assign(model=model)}
    tables["both"] = {
        name: pd.concat([tables["main"][name], tables["extra"][name]], ignore_index=True)
        for name in ("effects", "traced")
    }
    variants = VARIANTS | {"severed": VARIANTS["main"]}
    fig = {item: fakes.load(item) for item in fakes.traces}
    for item, variant, options, settings in (
        ("fig1_trace_example", "main", {}, (window,)),
        ("fig2_average_traces", "main", {}, (window,)),
        ("fig3_severed", "severed", {}, ()),
        ("fig7_lines", "main", {}, (window, VARIANTS)),
        ("fig10_examples", "main", {"count": 3}, (window,)),
        ("fig11_atypical", "main", {"count": 2}, (window,)),
        ("fig12_extra_token", "both", {"count": 3}, (window,)),
        ("fig13_noise_kinds", "both", {}, (window, VARIANTS)),
        ("fig14_severed_cases", "severed", {"count": 3}, ()),
    ):
        frame = numbers_of(fig[item], tables[variant], model, options, variants=variants)
        assert_readable(fig[item].draw(frame, *settings), monkeypatch)


@pytest.mark.parametrize(
    ("item", "variant", "sites"),
    [("fig1_trace_example", "main", 3), ("fig10_examples", "main", 3), ("fig14_severed_cases", "severed", 3)],
)
def test_galleries_hold_each_cell_of_the_chosen_prompts(drawn, fakes, item, variant, sites):
    frame, (expected, prompts) = csv(drawn, item), scores(fakes, variant)
    tokens = 1 if variant == "severed" else len(prompts[0].tokens)
    assert len(frame) == frame["prompt_id"].nunique() * sites * tokens * 8
    for row in frame.itertuples():
        prompt = prompts[row.prompt_id]
        assert row.score == pytest.approx(expected[row.prompt_id, row.site, row.token, row.layer], rel=1e-5)
        assert row.corrupted == pytest.approx(prompt.corrupted, rel=1e-5) and row.text == prompt.tokens[row.token]
        assert (row.in_subject == "True" or row.in_subject is True) == (1 <= row.token < 4)
        if item == "fig14_severed_cases":
            assert row.indirect_effect == pytest.approx(row.score - prompt.corrupted, abs=1e-5)


def test_prompts_may_be_named_by_id_or_subject_for_each_model(fakes, runner):
    traced = fakes.traced()
    settings = selection.Settings(prompts={"mini": (5, "x2"), "other": (99,)})
    assert selection.chosen(traced, settings, "mini") == [5, 2]
    assert selection.chosen(traced, settings, "third") == selection.chosen(traced, selection.Settings(), "third")
    with pytest.raises(ValueError, match="no traced prompt has the prompt_id 99; 8 prompts were traced"):
        selection.chosen(traced, settings, "other")
    with pytest.raises(ValueError, match="the subject 'Zillow'"):
        runner.run("fig10_examples", prompts={"mini": ["Zillow"]})
    runner.run("fig14_severed_cases", prompts={"mini": ["x3"]})
    assert set(pd.read_csv(runner.folder / "out/rome/fig14_severed_cases.csv")["prompt_id"]) == {3}


def test_a_variant_that_does_not_fit_is_named(runner, fakes):
    """Too many variants; a variant without the sites that the figure shows."""
    with pytest.raises(ValueError, match=r"variants \['gaussian', 'uniform'\] of trace: this item shows 1"):
        runner.run("fig2_average_traces", runner.inputs("fig13_noise_kinds"))
    with pytest.raises(ValueError, match=r"variant severed of trace: sites \['attn', 'mlp'\] were not traced"):
        runner.run("fig7_lines", runner.inputs("fig3_severed"))
    with pytest.raises(ValueError, match=r"variant main of trace: sites \['no_attn', 'no_mlp'\] were not traced"):
        runner.run("fig3_severed", runner.inputs("fig7_lines"))


@pytest.mark.parametrize(
    ("item", "variants"),
    [("fig7_lines", ["main"]), ("fig15_extra_token", ["extra"]), ("fig13_noise_kinds", ["gaussian", "uniform"])],
)
def test_lines_hold_each_point_and_its_interval(drawn, fakes, item, variants):
    frame = csv(drawn, item).set_index(["variant", "site", "category", "layer"])
    assert len(frame) == len(variants) * 3 * 6 * 8
    for variant in variants:
        expected, prompts = scores(fakes, variant)
        base = np.mean([prompt.corrupted for prompt in prompts])
        for site in ("hidden", "mlp", "attn"):
            for category, tokens in (
                ("First subject token", [1]),
                ("Middle subject tokens", [2]),
                ("Last subject token", [3]),
                ("First subsequent token", [4]),
                ("Further tokens", [5]),
                ("Last token", [6]),
            ):
                values = [expected[prompt.prompt_id, site, token, 5] for prompt in prompts for token in tokens]
                row = frame.loc[variant, site, category, 5]
                assert row["indirect_effect"] == pytest.approx(np.mean(values) - base, rel=1e-4, abs=1e-6)
                assert row["ci"] == pytest.approx(1.96 * np.std(values) / len(values) ** 0.5, rel=1e-4)
                assert row["count"] == row["prompts"] == len(prompts)


def test_fig3_bars_are_effects_at_the_last_subject_token_over_the_ordinary_baseline(drawn, fakes):
    frame, (expected, prompts) = csv(drawn, "fig3_severed"), scores(fakes, "severed")
    assert len(frame) == 3 * 8 and set(frame["prompts"]) == {8}
    base = np.mean([prompt.corrupted for prompt in prompts])
    for row in frame.itertuples():
        values = [expected[prompt.prompt_id, row.site, 3, row.layer] for prompt in prompts]
        assert row.indirect_effect == pytest.approx(np.mean(values) - base, rel=1e-4, abs=1e-6)
        assert row.ci == pytest.approx(1.96 * np.std(values) / 8**0.5, rel=1e-4)


def test_bars_stand_where_the_table_says(fakes):
    traced = fakes.traced(variant="severed")
    frame = numbers_of(fakes.load("fig3_severed"), {"effects": fakes.effects(traced), "traced": traced})
    ax = style.figure(3, 2).subplots()
    handles = trace_panels.severed_bars(ax, frame)
    assert list(handles) == [style.SEVERED[site][0] for site in trace_tables.SEVERED]
    for bars, site in zip(handles.values(), trace_tables.SEVERED):
        expected = frame[frame["site"] == site].set_index("layer")["indirect_effect"]
        assert {round(bar.get_x() + 0.15): bar.get_height() for bar in bars} == expected.to_dict()
        assert {bar.get_facecolor() for bar in bars} == {panels_colour(site)}


def test_fig11_shows_the_prompts_that_contradict_the_early_site_most(drawn, fakes):
    """Independently: for each prompt, best hidden score at tokens 0, 1, 2, 4, 5 against the best at token 3."""
    frame = csv(drawn, "fig11_atypical")
    assert set(frame["atypical"].astype(int)) == {0} and frame["score"].tolist() == [""], "the fakes are all typical"
    fig11, traced = fakes.load("fig11_atypical"), fakes.traced()
    effects = fakes.effects(traced)
    for prompt, extra in ((2, 0.3), (6, 0.7), (5, 0.5)):
        at = (
            (effects["prompt_id"] == prompt)
            & (effects["site"] == "hidden")
            & (effects["token"] == 4)
            & (effects["layer"] == 1)
        )
        effects.loc[at, "score"] += extra
    found = numbers_of(fig11, {"effects": effects, "traced": traced}, paper={"count": 2}, variants=VARIANTS)
    assert (
        list(found["prompt_id"].unique()) == [6, 5] and set(found["atypical"]) == {3} and set(found["prompts"]) == {8}
    )
    hidden = effects[(effects["prompt_id"] == 6) & (effects["site"] == "hidden")]
    best = hidden[hidden["token"].isin([0, 1, 2, 4, 5])]["score"].max() - hidden[hidden["token"] == 3]["score"].max()
    assert found.loc[found["prompt_id"] == 6, "margin"].iloc[0] == pytest.approx(best) and best > 0.5


def test_fig12_shows_a_prompt_both_ways_on_one_scale(drawn, fakes):
    frame = csv(drawn, "fig12_extra_token")
    pairs = frame.drop_duplicates(["prompt_id", "variant"])[["prompt_id", "variant"]].to_numpy().tolist()
    assert [variant for _, variant in pairs] == ["main", "extra"] * (len(pairs) // 2)
    assert all(one[0] == other[0] for one, other in zip(pairs[::2], pairs[1::2]))
    assert set(
        frame.loc[frame["extra"].astype(str) == "True", ["variant", "token"]].itertuples(index=False, name=None)
    ) == {("extra", 4)}
    for variant in ("main", "extra"):
        expected, _ = scores(fakes, variant)
        for row in frame[frame["variant"] == variant].itertuples():
            assert row.score == pytest.approx(expected[row.prompt_id, row.site, row.token, row.layer], rel=1e-5)
    fig12, traced = fakes.load("fig12_extra_token"), [fakes.traced(variant=variant) for variant in VARIANTS]
    effects = pd.concat([fakes.effects(table) for table in traced])
    both = {"effects": effects, "traced": pd.concat([traced[0], traced[1].query("prompt_id > 5")])}
    found = numbers_of(fig12, both, paper={"count": 8}, variants=VARIANTS)
    assert set(found["prompt_id"]) == {6, 7}, "only prompts traced both ways"
    meshes = [ax.collections[0] for ax in fig12.draw(found, 2).axes if ax.collections]
    limits = [mesh.get_clim() for mesh in meshes if mesh.cmap.name == "Greens"]
    assert limits[0] == limits[1] and limits[2] == limits[3] and limits[0] != limits[2]
    with pytest.raises(ValueError, match="no prompt was traced in all of them"):
        numbers_of(fig12, both | {"traced": pd.concat([traced[0].head(2), traced[1].tail(2)])}, variants=VARIANTS)


def test_titles_say_how_many_prompts_and_what_noise(fakes):
    traced = [fakes.traced(variant=variant) for variant in VARIANTS]
    both = {"effects": pd.concat(map(fakes.effects, traced)), "traced": pd.concat(traced)}
    frame = numbers_of(fakes.load("fig13_noise_kinds"), both)
    titles = [ax.get_title() for ax in trace_panels.lines(frame, 2, VARIANTS).axes if ax.get_title().startswith("N =")]
    assert titles == [
        "N = 8 prompts, Gaussian noise, 3 σ of the subjects' embeddings",
        "N = 8 prompts, Gaussian noise, σ = 0.1, 1 more token after the subject corrupted",
    ]


def panels_colour(site):
    from matplotlib.colors import to_rgba

    return to_rgba(style.SEVERED[site][1])
