const SVG = "http://www.w3.org/2000/svg";

// An element with attributes and children; texts become text nodes, never markup.
function make(name, attributes = {}, ...children) {
  const element = ["svg", "rect", "text", "g"].includes(name) ? document.createElementNS(SVG, name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) if (value !== null) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

function source(browser) {
  return JSON.parse(document.getElementById(browser.dataset.source).textContent);
}

// Little-endian 16-bit integers in base64, as probabilities; NaN where there is none.
function probabilities(text, data) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  return Float64Array.from({ length: bytes.length / 2 }, (_, at) => {
    const value = view.getUint16(2 * at, true);
    return value === data.nothing ? NaN : value / data.steps;
  });
}

const percent = (value) => (Number.isNaN(value) ? "–" : `${(100 * value).toFixed(2)}%`);
const points = (value) => `${value < 0 ? "−" : "+"}${(100 * Math.abs(value)).toFixed(2)}`;

function fill(select, options, chosen = null) {
  select.replaceChildren(...options.map(([value, text]) => make("option", { value }, text)));
  if (options.some(([value]) => String(value) === String(chosen))) select.value = chosen;
}

// Previous and Next beside a select; `show` is called with its value.
function stepper(form, show) {
  const choice = form.elements.choice;
  const step = (by) => {
    const at = choice.selectedIndex + by;
    if (at < 0 || at >= choice.options.length) return;
    choice.selectedIndex = at;
    show();
  };
  form.elements.back.addEventListener("click", () => step(-1));
  form.elements.on.addEventListener("click", () => step(1));
  choice.addEventListener("change", show);
  form.addEventListener("submit", (event) => event.preventDefault());
}

document.querySelectorAll(".picture").forEach((button) => button.addEventListener("click", () =>
  button.setAttribute("aria-pressed", button.getAttribute("aria-pressed") === "false")));
