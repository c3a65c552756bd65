"""The page in a real browser: no errors, no requests, nothing wider than the screen; sorting, filters and both browsers
work.
"""

import json
import re
import shutil
from collections import Counter

import numpy as np
import pandas as pd
import pytest

webdriver = pytest.importorskip("selenium.webdriver", reason="needs the package selenium")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
TEXTS = "return [...document.querySelectorAll(arguments[0])].map((one) => one.textContent)"
SITES = ("hidden", "mlp", "attn")


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    from selenium.webdriver.chrome.service import Service

    programs = [shutil.which(name) for name in ("chromium", "chromedriver")]
    if not all(programs):
        pytest.skip("needs chromium and chromedriver (Debian: chromium, chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = programs[0]
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    found = webdriver.Chrome(options=options, service=Service(programs[1]))
    yield found
    found.quit()


@pytest.fixture
def page(driver, written):
    """The page, opened anew at desktop width."""
    return opened(driver, written, 1280)


def opened(driver, written, width: int):
    driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600},
    )
    driver.get(written.as_uri())
    return driver


def texts(page, selector: str) -> list[str]:
    return [text.strip() for text in page.execute_script(TEXTS, selector)]


def rows_of(page, selector: str) -> list[list[str]]:
    """The texts of the cells of table rows."""
    return page.execute_script(
        "return [...document.querySelectorAll(arguments[0])]"
        ".map((row) => [...row.cells].map((cell) => cell.textContent))",
        selector,
    )


def choose(page, browser: str, **fields) -> None:
    """Set fields of a browser's form as a reader would, and tell the page."""
    page.execute_script(
        """
        const form = document.querySelector(`${arguments[0]} form`);
        for (const [name, value] of Object.entries(arguments[1])) {
          const field = form.elements[name];
          if (field.type === "checkbox") field.checked = value; else field.value = value;
          field.dispatchEvent(new Event(name === "search" ? "input" : "change"));
        }""",
        browser,
        fields,
    )


def number(text: str) -> float:
    """`+12.34 points`, `56.78% ✓` as a share."""
    return float(re.match(r"[+−-]?[\d.]+", text)[0].replace("−", "-")) / 100


def test_nothing_fails_and_nothing_leaves_the_page(driver, written):
    driver.get_log("browser"), driver.get_log("performance")
    opened(driver, written, 1280)
    pictures = driver.execute_async_script("""
        const done = arguments[0], all = [...document.images];
        Promise.all(all.map((one) => one.decode())).then(() => done(all.map((one) => one.naturalWidth)), done)""")
    assert len(pictures) == 5 and min(pictures) > 0
    assert driver.get_log("browser") == []
    messages = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    urls = {
        message["params"]["request"]["url"]
        for message in messages
        if message["method"] == "Network.requestWillBeSent" and message["params"]["documentURL"] == written.as_uri()
    }
    assert written.as_uri() in urls and all(url == written.as_uri() or url.startswith("data:") for url in urls)
    assert texts(driver, "b[onclick]") == [] and "alert(1)" in driver.page_source


def test_a_request_would_be_stopped_and_an_error_seen(page):
    """The two checks above can fail."""
    page.execute_script("new Image().src = 'http://127.0.0.1:9/x.png'; setTimeout(() => nothing.here, 0)")
    page.implicitly_wait(1)
    said = "".join(entry["message"] for entry in page.get_log("browser"))
    assert "violates the following Content Security Policy" in said and "nothing is not defined" in said


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_wider_than_the_screen(driver, written, width):
    opened(driver, written, width)
    driver.execute_script("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    driver.execute_async_script("setTimeout(arguments[0], 300)")
    seen, full, wide = driver.execute_script("""
        const scrolls = (one) => one &&
          (/auto|scroll/.test(getComputedStyle(one).overflowX) || scrolls(one.parentElement));
        const hidden = (one) => one.closest(".hidden, .skip, svg");
        const edge = document.documentElement.clientWidth;
        const wide = [...document.querySelectorAll("body *")].filter((one) => !hidden(one) &&
          !scrolls(one.parentElement) && one.getBoundingClientRect().right > edge + 0.5)
          .map((one) => one.outerHTML.slice(0, 80));
        return [edge, document.documentElement.scrollWidth, wide]""")
    assert wide == [] and full <= seen <= width
    assert texts(driver, "details.csv table"), "the numbers of figures are shown"


def test_the_view_follows_the_width(driver, written):
    opened(driver, written, 1280)
    several = driver.execute_script("return document.querySelector('.maps').getBoundingClientRect().height")
    opened(driver, written, 390)
    assert driver.execute_script("return document.querySelector('.maps').getBoundingClientRect().height") > 2 * several


def test_tables_sort(page, finished):
    table = pd.read_csv(finished.root / "figures/mini/rome/table4_counterfact.csv", keep_default_na=False)
    names = {"none": "Unedited (mini)", "ft": "FT", "rome": "ROME"}
    scores = table[table["metric"] == "ES"].set_index("method")["value"].rename(names)
    here = "#mini-rome-table4_counterfact"
    assert texts(page, f"{here} tbody th") == list(names.values())
    button = page.execute_script("return document.querySelectorAll(`${arguments[0]} thead button`)[2]", here)
    assert button.text == "ES"
    for order, ascending in (("descending", False), ("ascending", True)):
        button.send_keys("\n")
        assert texts(page, f"{here} tbody th") == list(scores.sort_values(ascending=ascending).index)
        assert page.execute_script("return arguments[0].parentElement.ariaSort", button) == order
    first = page.execute_script("return document.querySelector(`${arguments[0]} thead button`)", here)
    first.click()
    assert texts(page, f"{here} tbody th") == sorted(names.values())
    assert Counter(
        page.execute_script(
            "return [...document.querySelectorAll(`${arguments[0]} thead th`)].map((h) => h.ariaSort)", here
        )
    ) == {"none": 9, "ascending": 1}
    cells = dict(zip(texts(page, f"{here} tbody th"), texts(page, f"{here} tbody td:nth-child(3)")))
    assert cells["ROME"] == f"{scores['ROME']:.1f} (0.5)"


def test_empty_cells_are_last(page):
    order = page.execute_script("""
        const box = tableOf("test", ["n"], [true], [[["10", 10]], ["–"], [["9", 9]], [["-1", -1]]]);
        const button = box.querySelector("button");
        const read = () => [...box.querySelectorAll("td")].map((one) => one.textContent);
        button.click(); const down = read(); button.click(); return [down, read()]""")
    assert order == [["10", "9", "-1", "–"], ["-1", "9", "10", "–"]]


def test_csv_is_read(page, finished):
    assert page.execute_script("return csvRows(arguments[0])", 'a,b\n1,"x, ""y""\nz"\n2,\n') == [
        ["a", "b"],
        ["1", 'x, "y"\nz'],
        ["2", ""],
    ]
    here = "#mini-rome-fig6_generations details.csv"
    page.execute_script("document.querySelector(arguments[0]).open = true", here)
    page.execute_async_script("setTimeout(arguments[0], 200)")
    table = pd.read_csv(finished.root / "figures/mini/rome/fig6_generations.csv", keep_default_na=False, dtype=str)
    assert texts(page, f"{here} thead th") == list(table)
    assert texts(page, f"{here} tbody td") == [text.strip() for text in table.to_numpy().ravel()]


def cells_of(page, site: int) -> list[str]:
    return page.execute_script(
        "const svg = document.querySelectorAll('#mini-prompts svg')[arguments[0]];"
        "return [...svg.querySelectorAll('[data-token]')].map((one) => one.getAttribute('fill'))",
        site,
    )


def test_prompts_have_heatmaps(page, finished):
    effects, prompts = (finished.table(f"results/trace/mini/main/{name}.parquet") for name in ("effects", "prompts"))
    assert len(texts(page, "#mini-prompts select option")) == len(prompts)
    before = cells_of(page, 0)
    for at in (3, 1):
        choose(page, "#mini-prompts", choice=str(at))
        row = prompts.iloc[at]
        assert texts(page, "#mini-prompts .sentence") == [f"{row['prompt']} → {row['answer'].strip()}"]
        assert texts(page, "#mini-prompts .sentence mark") == ["".join(row["tokens"][1:4]).strip()]
        values = texts(page, "#mini-prompts .values dd")
        assert [number(text) for text in values[:3]] == pytest.approx(
            [row["clean"], row["corrupted"], row["clean"] - row["corrupted"]], abs=1e-4
        )
        own = effects[effects["prompt_id"] == row["prompt_id"]]
        for site, name in enumerate(SITES):
            grid = own[own["site"] == name].pivot(index="token", columns="layer", values="score") - row["corrupted"]
            assert number(values[3 + site]) == pytest.approx(grid.max(axis=None), abs=1e-4)
            assert len(cells_of(page, site)) == grid.size
            for token, layer in ((0, 0), (3, 2), (6, 7)):
                page.execute_script(
                    """document.querySelectorAll("#mini-prompts svg")[arguments[0]].querySelector(
                    `[data-token="${arguments[1]}"][data-layer="${arguments[2]}"]`).dispatchEvent(
                    new PointerEvent("pointermove", { bubbles: true }))""",
                    site,
                    token,
                    layer,
                )
                said = texts(page, "#mini-prompts .readout")[0]
                assert f"“{row['tokens'][token].strip()}”, layer {layer}:" in said
                assert number(said.split("effect ")[1]) == pytest.approx(grid.loc[token, layer], abs=1e-4)
                assert number(said.split("p(answer) ")[1]) == pytest.approx(
                    grid.loc[token, layer] + row["corrupted"], abs=1e-4
                )
        assert cells_of(page, 0) != before
    darkest = np.argmin([sum(map(int, re.findall(r"\d+", colour))) for colour in cells_of(page, 0)])
    grid = own[own["site"] == "hidden"].sort_values(["token", "layer"])["score"].to_numpy()
    assert darkest == grid.argmax(), "colours follow the values"


def test_heatmaps_by_keyboard_and_scale(page):
    from selenium.webdriver.common.keys import Keys

    svg = page.find_element("css selector", "#mini-prompts svg")
    svg.send_keys(Keys.ARROW_DOWN, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    assert "layer 2:" in texts(page, "#mini-prompts .readout")[0]
    shared = cells_of(page, 2)
    choose(page, "#mini-prompts", shared=False)
    assert cells_of(page, 2) != shared
    bars = texts(page, "#mini-prompts .scale")
    values = texts(page, "#mini-prompts .values dd")[3:]
    assert [number(bar.lstrip("0")) if not bar.startswith("00") else number(bar[1:]) for bar in bars] == pytest.approx(
        [number(value) for value in values], abs=1e-4
    )


def test_prompts_are_found(page):
    choose(page, "#mini-prompts", search="UNIQUE4")
    assert len(texts(page, "#mini-prompts select option")) == 1
    assert (
        texts(page, "#mini-prompts .count") == ["(1 of 6)"] and "Name4" in texts(page, "#mini-prompts select option")[0]
    )
    choose(page, "#mini-prompts", search="nobody")
    assert texts(page, "#mini-prompts .maps > *") == []
    choose(page, "#mini-prompts", search="")
    page.find_element("css selector", "#mini-prompts [name=on]").click()
    assert page.execute_script("return document.querySelector('#mini-prompts select').selectedIndex") == 1


def test_two_models_do_not_mix(page, finished):
    ids = page.execute_script("return [...document.querySelectorAll('[id]')].map((one) => one.id)")
    assert len(ids) == len(set(ids))
    assert texts(page, "h2.model") == ["mini", "cf500"]
    choose(page, "#cf500-prompts", choice="2")
    prompts = finished.table("results/trace/mini/main/prompts.parquet")
    assert texts(page, "#mini-prompts .sentence")[0].startswith(prompts["prompt"][0])
    links = page.execute_script(
        "return [...document.querySelectorAll('a[href^=\"#\"]')].filter((one) => "
        "!document.getElementById(one.hash.slice(1))).map((one) => one.hash)"
    )
    assert links == []


def edits_of(finished, method: str) -> pd.DataFrame:
    """Probability by record, kind, prompt and target: recomputed here from the raw table."""
    table = finished.table(f"results/edit/mini/counterfact/{method}/n1/scores.parquet")
    return np.exp(-table.set_index(["case_id", "kind", "prompt_index", "target"])["nll"])


HERE = ".edited[data-source=mini-counterfact]"


def test_edits_show_probabilities_before_and_after(page, finished):
    before = edits_of(finished, "none")
    facts = finished.table("data/mini/facts.parquet").set_index("case_id")
    assert texts(page, f"{HERE} [name=method] option") == ["FT", "ROME"]
    for method, at in (("rome", 0), ("ft", 3), ("rome", 1)):
        choose(page, HERE, method=method, choice=str(at))
        case, after = facts.index[at], edits_of(finished, method)
        rows = rows_of(page, f"{HERE} .probabilities tbody tr:not(.group)")
        keys = list(dict.fromkeys(key[1:3] for key in before.index if key[0] == case))
        assert len(rows) == len(keys) == 7 + (at in (0, 3))
        assert ("The player of record" in rows[-1][0]) == (at in (0, 3))
        assert (
            rows[0][0] == f"{facts.at[case, 'subject']} plays the"
            and rows[1][0] == facts.at[case, "paraphrase_prompts"][0]
        )
        for row, key in zip(rows, keys):
            wanted = [table[(case, *key, target)] for target in ("new", "true") for table in (before, after)]
            assert [number(cell) for cell in row[1:]] == pytest.approx(wanted, abs=1e-4)
    correct = finished.table("results/edit/mini/counterfact/rome/n1/scores.parquet").query("case_id == @case")[
        "correct"
    ]
    assert sum("✓" in row[place] for row in rows for place in (2, 4)) == correct.sum()


def test_edits_show_texts_as_they_are(page, finished, nasty):
    choose(page, HERE, method="rome", choice="1")
    wanted = [
        finished.table(f"results/edit/mini/counterfact/{method}/n1/texts.parquet").query("case_id == 11")["text"]
        for method in ("none", "rome")
    ]
    shown = page.execute_script(TEXTS, f"{HERE} .texts p")
    assert shown == [text for pair in zip(*wanted) for text in pair] and shown[0].endswith(nasty)
    assert set(texts(page, f"{HERE} .texts .new")) == {"violin"} and set(texts(page, f"{HERE} .texts .true")) == {
        "piano"
    }
    choose(page, HERE, choice="6")
    assert "No texts were generated for this record" in texts(page, f"{HERE} .texts")[0]


def test_edits_are_filtered(page, finished):
    facts = finished.table("data/mini/facts.parquet").set_index("case_id")
    table = edits_of(finished, "rome").unstack("target")
    held = (table["new"] > table["true"]).xs("rewrite", level="kind").groupby("case_id").mean() == 1
    kept = (table["true"] > table["new"]).xs("neighborhood", level="kind").groupby("case_id").mean() == 1
    assert 0 < held.sum() < len(held)

    def cases():
        return [int(text.split(":")[0]) for text in texts(page, f"{HERE} [name=choice] option")]

    for outcome, wanted in (
        ("", held | True),
        ("0 holds", held),
        ("0 fails", ~held),
        ("2 holds", kept),
        ("2 fails", ~kept),
    ):
        choose(page, HERE, outcome=outcome)
        assert cases() == list(wanted.index[wanted]), outcome
    choose(page, HERE, outcome="", relation="P1")
    assert cases() == list(facts.index[facts["relation_id"] == "P1"])
    choose(page, HERE, outcome="0 holds")
    assert set(cases()) == set(facts.index[facts["relation_id"] == "P1"]) & set(held.index[held])
    choose(page, HERE, outcome="", relation="", search="ann5")
    assert cases() == [15] and texts(page, f"{HERE} .count") == ["(1 of 7)"]
    choose(page, HERE, search="nobody")
    assert texts(page, f"{HERE} .sentence") == ["No record is like this."]
    assert texts(page, f"{HERE} .probabilities *") == []


def test_editors_are_compared_on_a_record(page, finished):
    choose(page, HERE, choice="2")
    rows = rows_of(page, f"{HERE} .compare tbody tr")
    assert [row[0] for row in rows] == ["Unedited (mini)", "FT", "ROME"]
    for row, method in zip(rows, ("none", "ft", "rome")):
        table = edits_of(finished, method)
        assert [float(cell) / 100 for cell in row[1:3]] == pytest.approx(
            [table[12, "rewrite", 0, "new"], table[12, "rewrite", 0, "true"]], abs=6e-4
        )
        neighbours = table.unstack("target").loc[12, "neighborhood"]
        assert float(row[5]) == pytest.approx(100 * (neighbours["true"] > neighbours["new"]).mean(), abs=0.06)


def test_questions_have_the_objects_that_were_asked_for(page, finished):
    here = ".edited[data-source=mini-zsre]"
    rows = rows_of(page, f"{here} .probabilities tbody tr:not(.group)")
    table = finished.table("results/edit/mini/zsre/rome/n1/scores.parquet")
    table = table[table["case_id"] == table["case_id"].iloc[0]]
    wanted = np.exp(-table.groupby("kind")["nll"].mean())
    assert number(rows[0][2]) == pytest.approx(wanted["rewrite"], abs=1e-4) and rows[0][4] == "–"
    assert number(rows[2][4]) == pytest.approx(wanted["neighborhood"], abs=1e-4) and rows[2][2] == "–"
    assert rows[2][0] == "who is 東京? → a city"
    assert texts(page, f"{here} .texts") == ["No texts are generated for these records."]


def test_pictures_enlarge(page):
    button = page.find_element("css selector", ".picture")
    button.send_keys(" ")
    assert button.get_attribute("aria-pressed") == "true"
    picture = button.find_element("tag name", "img")
    assert picture.get_property("naturalWidth") == picture.get_property("clientWidth")
