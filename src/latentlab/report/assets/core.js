// Data, small helpers, and pictures, which are decoded when they are first shown.
const data = JSON.parse(document.getElementById("data").textContent);
const pictures = JSON.parse(document.getElementById("pictures").textContent);
const rowOf = Object.fromEntries(data.rows.map(row => [row.name, row]));
const metricOf = Object.fromEntries(data.metrics.map(metric => [metric.key, metric]));
const names = data.rows.filter(row => row.family).map(row => row.name);
const $ = (selector, root = document) => root.querySelector(selector);
const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
const calm = matchMedia("(prefers-reduced-motion: reduce)");

// An element. Attributes that are functions become listeners; undefined and false are left out.
const SVG = "http://www.w3.org/2000/svg";
const make = (create, tag, attributes, children) => {
  const element = create(tag);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (typeof value === "function") element.addEventListener(key, value);
    else if (value !== undefined && value !== false) element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter(child => child !== null && child !== undefined && child !== false));
  return element;
};
const h = (tag, attributes, ...children) => make(t => document.createElement(t), tag, attributes, children);
const s = (tag, attributes, ...children) => make(t => document.createElementNS(SVG, t), tag, attributes, children);
const mark = family => h("i", {class: "mark", "data-family": family, "aria-hidden": "true"});
const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
const range = count => Array.from({length: count}, (_, index) => index);
const modelLink = name => `#model=${encodeURIComponent(name)}`;

// A number as short text.
const short = value => {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  if (size >= 1e6) return `${+(value / 1e6).toPrecision(3)}M`.replace("-", "−");
  if (size >= 1e4) return `${+(value / 1e3).toPrecision(3)}k`.replace("-", "−");
  return String(+value.toPrecision(4)).replace("-", "−");
};
const fewText = cell => cell?.few ? `first ${grouped(cell.few)} test images` : undefined;
const grouped = value => value.toLocaleString("en-US");

const decoded = new Map();
const imageOf = src => {
  if (!decoded.has(src)) {
    const image = new Image();
    image.src = `data:image/webp;base64,${pictures[src]}`;
    decoded.set(src, image.decode().then(() => image));
  }
  return decoded.get(src);
};

// A canvas with the images `indices` of a sprite, `columns` in a row. `gap` in image pixels.
// `factor`: the largest enlargement; CSS uses the largest whole factor that fits.
const strip = (sprite, indices, {columns = indices.length, factor = 2, gap = 1, label = ""} = {}) => {
  const shown = indices.filter(index => index < sprite.n);
  const rows = Math.max(1, Math.ceil(shown.length / columns));
  const canvas = h("canvas", {
    class: "strip", role: label ? "img" : undefined, "aria-label": label || undefined,
    "aria-hidden": label ? undefined : "true",
  });
  canvas.width = columns * (sprite.w + gap) - gap;
  canvas.height = rows * (sprite.h + gap) - gap;
  canvas.style.setProperty("--w", `${canvas.width}px`);
  canvas.style.setProperty("--max", factor);
  if (factor < 1 || sprite.w > 96) canvas.classList.add("smooth");
  paint(canvas, sprite, shown, columns, gap);
  return canvas;
};
const paint = (canvas, sprite, indices, columns, gap = 1) => imageOf(sprite.src).then(image => {
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, canvas.width, canvas.height);
  indices.forEach((index, place) => context.drawImage(
    image, index % sprite.cols * sprite.w, Math.floor(index / sprite.cols) * sprite.h, sprite.w, sprite.h,
    place % columns * (sprite.w + gap), Math.floor(place / columns) * (sprite.h + gap), sprite.w, sprite.h));
});
// The factor that brings an image nearest to a width in px.
const factorFor = (sprite, width) =>
  width >= sprite.w ? Math.max(1, Math.round(width / sprite.w)) : width / sprite.w;
const spriteOf = (name, kind) => data.models[name]?.sprites[kind];

// A button around a picture that shows it large in a dialog.
const zoomDialog = $("#zoom");
const zoomable = (content, caption, large) => h("button", {
  type: "button", class: "zoom", "aria-label": `Enlarge: ${caption}`,
  click: () => {
    zoomDialog.replaceChildren(h("figure", {}, large(), h("figcaption", {}, caption)));
    zoomDialog.showModal();
  },
}, content);
zoomDialog.addEventListener("click", () => zoomDialog.close());
const room = (width, height) => Math.min(innerWidth * .94 / width, (innerHeight * .94 - 60) / height);

// The figures of diagnostics and tasks, which the templates leave empty.
const fillFigures = root => $$("[data-figure]:not(.filled)", root).forEach(figure => {
  const {figure: src, width, height} = figure.dataset;
  const caption = $("figcaption", figure).textContent;
  const draw = scale => {
    const image = h("img", {alt: caption, width, height, src: `data:image/webp;base64,${pictures[src]}`});
    if (scale) image.style.width = `${width * scale}px`;
    return image;
  };
  const pixelated = figure.classList.contains("pixels");
  figure.prepend(zoomable(draw(), caption, () => {
    const large = draw(pixelated ? Math.max(1, Math.floor(room(width, height))) : Math.min(2, room(width, height)));
    if (pixelated) large.style.imageRendering = "pixelated";
    return large;
  }));
  figure.classList.add("filled");
});

// Run `show` once, when the element comes near the screen.
const whenNear = (element, show) => {
  const observer = new IntersectionObserver(entries => {
    if (!entries.some(entry => entry.isIntersecting)) return;
    observer.disconnect();
    show();
  }, {rootMargin: "400px"});
  observer.observe(element);
};

// Rows of which the best is marked: equal in the printed digits, or tied (report/ties.py).
const bestOf = (key, rows) => {
  const metric = metricOf[key];
  const has = row => row.family && row.values[key] && row.values[key].v !== null;
  const candidates = rows.filter(has);
  if (!metric.better || metric.unreliable || candidates.length < 2) return () => false;
  const best = candidates.reduce((a, b) => metric.better * (b.values[key].v - a.values[key].v) > 0 ? b : a);
  const ties = data.ties[key]?.[best.name] ?? [];
  const vague = ({low, v}) => metric.better > 0 && low <= 0 && v > 0; // 0.24 ± 0.62 says nothing
  const isBest = row => has(row) && (row === best || row.values[key].t === best.values[key].t && !vague(row.values[key]) || ties.includes(row.name) && !vague(row.values[key]));
  return candidates.every(isBest) ? () => false : isBest;
};
const listOf = (items, last = "and") =>
  items.length < 2 ? items.join("") : `${items.slice(0, -1).join(", ")} ${last} ${items.at(-1)}`;
