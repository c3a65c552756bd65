const ROW = 20, AXIS = 34, LETTERS = 14;

// Colour of a value on a scale from 0 to `top`, between the shades of a bar.
function shade(shades, value, top) {
  const place = Math.min(Math.max(value / top, 0), 1) * (shades.length - 1);
  const low = Math.min(Math.floor(place), shades.length - 2);
  const [a, b] = [shades[low], shades[low + 1]].map((hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16)));
  return `rgb(${a.map((part, at) => Math.round(part + (b[at] - part) * (place - low))).join(",")})`;
}

const shortened = (text) => {
  const shown = text.trim().replace(/\s+/g, "⏎") || "␣";
  return shown.length > LETTERS ? `${shown.slice(0, LETTERS - 1)}…` : shown;
};

// Tokens x layers as an SVG of `width` CSS pixels. `map`: title, axis, shades, tokens, marked (rows of the subject), layers,
// value(token, layer), top of the scale; `tell(token, layer)` is called for the cell that is pointed at or moved to.
function heatmap(map, width, tell) {
  const left = 12 + 7.2 * Math.max(...map.tokens.map((token, at) => shortened(token).length + (map.marked(at) ? 1 : 0)));
  const cell = (width - left - 6) / map.layers, bottom = ROW * map.tokens.length;
  const svg = make("svg", { width, height: bottom + AXIS, viewBox: `0 0 ${width} ${bottom + AXIS}`, tabindex: 0,
    role: "application", "aria-roledescription": "heatmap", "aria-label": `${map.title}: effect by token and layer` });
  map.tokens.forEach((token, row) => {
    svg.append(make("text", { x: left - 6, y: ROW * row + 14, "text-anchor": "end", "font-weight": map.marked(row) ? 700 : 400 },
      shortened(token) + (map.marked(row) ? "*" : "")));
    for (let layer = 0; layer < map.layers; layer++) {
      const value = map.value(row, layer);
      svg.append(make("rect", { x: left + cell * layer, y: ROW * row, width: cell + 0.3, height: ROW,
        fill: Number.isNaN(value) ? "#dddddd" : shade(map.shades, value, map.top), "data-token": row, "data-layer": layer }));
    }
  });
  const step = [1, 2, 5, 10, 20].find((by) => by * cell >= 18) ?? 50;
  for (let layer = 0; layer < map.layers; layer += step)
    svg.append(make("text", { x: left + cell * (layer + 0.5), y: bottom + 14, "text-anchor": "middle" }, String(layer)));
  svg.append(make("text", { x: left + cell * map.layers / 2, y: bottom + 29, "text-anchor": "middle" }, map.axis));
  const cursor = make("rect", { width: cell, height: ROW, fill: "none", stroke: "#000", "stroke-width": 2, visibility: "hidden" });
  svg.append(cursor);
  let [token, layer] = [0, 0];
  const move = (to, along) => {
    [token, layer] = [Math.min(Math.max(to, 0), map.tokens.length - 1), Math.min(Math.max(along, 0), map.layers - 1)];
    Object.entries({ x: left + cell * layer, y: ROW * token, visibility: "visible" }).forEach((pair) => cursor.setAttribute(...pair));
    tell(token, layer);
  };
  svg.addEventListener("pointermove", ({ target }) => {
    if (target.dataset.token !== undefined) move(Number(target.dataset.token), Number(target.dataset.layer));
  });
  svg.addEventListener("keydown", (event) => {
    const by = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (!by) return;
    event.preventDefault();
    move(token + by[0], layer + by[1]);
  });
  return svg;
}

function colourBar(shades, top) {
  return make("div", { class: "scale" }, "0", make("i", { style: `background: linear-gradient(90deg, ${shades.join(", ")})` }),
    `${(100 * top).toFixed(2)} points`);
}
