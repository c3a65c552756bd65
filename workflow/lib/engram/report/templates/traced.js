document.querySelectorAll(".browser.traced").forEach((browser) => {
  const data = source(browser), form = browser.querySelector("form"), { search, choice, shared } = form.elements;
  const scores = probabilities(data.scores, data);
  const starts = [];
  data.prompts.reduce((sum, prompt, at) => (starts[at] = sum) + prompt.tokens.length, 0);
  const find = (selector) => browser.querySelector(selector);

  function effect(at, site, token, layer) {
    const length = data.prompts[at].tokens.length;
    const place = (starts[at] * data.sites.length + site * length + token) * data.layers + layer;
    return scores[place] - data.prompts[at].corrupted;
  }

  function largest(at, site) {
    let best = { value: -Infinity };
    for (let token = 0; token < data.prompts[at].tokens.length; token++)
      for (let layer = 0; layer < data.layers; layer++) {
        const value = effect(at, site, token, layer);
        if (value > best.value) best = { value, token, layer };
      }
    return best;
  }

  function show() {
    const at = Number(choice.value), prompt = data.prompts[at];
    if (choice.value === "") {
      [".sentence", ".values", ".maps", ".readout"].forEach((part) => find(part).replaceChildren());
      return;
    }
    const marked = (row) => row >= prompt.begin && row < prompt.end;
    const part = (begin, end) => prompt.tokens.slice(begin, end).join("");
    find(".sentence").replaceChildren(part(0, prompt.begin), make("mark", {}, part(prompt.begin, prompt.end)),
      part(prompt.end), " → ", make("strong", {}, prompt.answer));
    const best = data.sites.map((_, site) => largest(at, site));
    const where = ({ value, token, layer }) => `${points(value)} points, “${prompt.tokens[token].trim()}”, layer ${layer}`;
    const values = [["p(answer), clean", percent(prompt.clean)], ["p(answer), subject corrupted", percent(prompt.corrupted)],
      ["total effect", `${points(prompt.clean - prompt.corrupted)} points`],
      ...data.sites.map((site, index) => [`${site.title}, largest effect`, where(best[index])])];
    find(".values").replaceChildren(...values.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value))));
    const top = Math.max(...best.map(({ value }) => value), 1e-6);
    find(".maps").replaceChildren(...data.sites.map(() => make("figure")));
    find(".readout").textContent = "Point at a cell, or move with the arrow keys, for its value.";
    [...find(".maps").children].forEach((figure, site) => {
      const { title, axis, shades } = data.sites[site], own = shared.checked ? top : Math.max(best[site].value, 1e-6);
      const tell = (token, layer) => {
        const value = effect(at, site, token, layer);
        find(".readout").textContent = `${title}, “${prompt.tokens[token].trim()}”, layer ${layer}: effect ${points(value)} ` +
          `points, p(answer) ${percent(value + prompt.corrupted)}`;
      };
      figure.append(make("figcaption", {}, title), heatmap({ title, axis, shades, tokens: prompt.tokens, marked, top: own,
        layers: data.layers, value: (token, layer) => effect(at, site, token, layer) }, figure.clientWidth, tell),
      colourBar(shades, own));
    });
  }

  function list() {
    const wanted = search.value.trim().toLowerCase(), chosen = choice.value;
    const found = data.prompts.map((prompt, at) => [at, `${prompt.prompt} → ${prompt.answer}`]).filter(([at, text]) =>
      `${text} ${data.prompts[at].subject}`.toLowerCase().includes(wanted));
    fill(choice, found, chosen);
    find(".count").textContent = `(${found.length.toLocaleString("en")} of ${data.prompts.length.toLocaleString("en")})`;
    show();
  }

  search.addEventListener("input", list);
  shared.addEventListener("change", show);
  stepper(form, show);
  let width = window.innerWidth;
  window.addEventListener("resize", () => {
    if (window.innerWidth !== width) show();
    width = window.innerWidth;
  });
  list();
});
