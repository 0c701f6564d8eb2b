// What one explores with the pointer: the map of test images, the plane of codes, the training.
// Ten colors that differ with the common color vision deficiencies (Petroff 2021).
const CLASS_COLORS = ["#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6", "#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd"];
const classColor = index => data.labels[index] >= 0 ? CLASS_COLORS[data.labels[index] % 10] : "#717581";
const className = index => data.labels[index] >= 0 ? data.classes[data.labels[index]] ?? String(data.labels[index]) : "";

// A canvas with one dot for each test image. `area`: the part of the map that is shown,
// [left, right, bottom, top] between 0 and 1; null is all of it, with a margin.
const mapPlot = (map, size, area = null) => {
  const canvas = h("canvas", {class: "map", role: "img", "aria-label": `Map of ${map.x.length} test images`});
  const ratio = Math.min(3, devicePixelRatio || 1);
  canvas.width = canvas.height = size * ratio;
  canvas.style.width = canvas.style.maxWidth = `${size}px`;
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  context.globalAlpha = .9;
  const radius = Math.max(1.6, size / 150);
  map.x.forEach((_, index) => {
    const [px, py] = mapPoint(map, index, size, area);
    context.fillStyle = classColor(index);
    context.beginPath();
    context.arc(px, py, radius, 0, 7);
    context.fill();
  });
  return canvas;
};
const PAD = 10;
const mapPoint = (map, index, size, area) => {
  const [left, right, bottom, top] = area || [0, 1, 0, 1], pad = area ? 0 : PAD;
  return [pad + (map.x[index] / 999 - left) / (right - left) * (size - 2 * pad),
    size - pad - (map.y[index] / 999 - bottom) / (top - bottom) * (size - 2 * pad)];
};

const legend = () => data.classes.length && data.labels.some(label => label >= 0)
  ? h("ul", {class: "legend", "aria-label": "Classes"}, data.classes.slice(0, 20).map((name, index) =>
    h("li", {}, h("i", {style: `background:${CLASS_COLORS[index % 10]}`}), name)))
  : null;

// Large single images with a caption, beside a map.
const viewer = titles => {
  const parts = titles.map(title => {
    const place = h("div", {class: "single"});
    return {place, figure: h("figure", {}, place, h("figcaption", {}, title))};
  });
  return {
    element: h("div", {class: "viewer"}, parts.map(part => part.figure)),
    show: (index, sprite, tile) => parts[index].place.replaceChildren(
      sprite && tile < sprite.n ? strip(sprite, [tile], {factor: factorFor(sprite, 112)}) : h("span", {class: "none"}, "not stored")),
  };
};

// The map of a model: pointing at a test image shows it and its reconstruction. Where the map is
// the plane of a decoder, the pointer also decodes the code below it.
const mapExplorer = (name, size = 0) => {
  const {map, plane} = data.models[name];
  const decoder = plane && spriteOf(name, "plane");
  const onMap = map && (!decoder || map.code);
  if (!map && !decoder) return null;
  const widgets = [];
  if (onMap) widgets.push(explorer(name, size || (decoder ? 460 : 340), map, decoder && map.code ? plane : null));
  if (decoder && !(map && map.code)) widgets.push(explorer(name, size || 460, null, plane));
  if (map && !onMap) widgets.push(explorer(name, size || 340, map, null));
  return widgets;
};
const explorer = (name, size, map, plane) => {
  const originals = data.sprites.originals, copies = spriteOf(name, "reconstructions"), tiles = spriteOf(name, "plane");
  const titles = [...(plane ? ["Decoded at the pointer"] : []), ...(map ? ["Test image", "Reconstruction"] : [])];
  const view = viewer(titles);
  const note = h("p", {class: "hint", "aria-live": "polite"});
  const cross = h("i", {class: "cross"});
  const stored = map ? Math.min(map.x.length, copies?.n ?? 0, originals?.n ?? 0) || 0 : 0;
  // With a plane, the surface is its area: half a step more than its codes at each side.
  const edges = axis => [axis[0] - (axis[1] - axis[0]) / 2, axis.at(-1) + (axis[1] - axis[0]) / 2];
  const [x0, x1, y0, y1] = plane ? [...edges(plane.x), ...edges(plane.y)] : map.range;
  const [mx0, mx1, my0, my1] = map ? map.range : [0, 1, 0, 1];
  const area = plane && map ? [(x0 - mx0) / (mx1 - mx0), (x1 - mx0) / (mx1 - mx0), (y0 - my0) / (my1 - my0), (y1 - my0) / (my1 - my0)] : null;
  const surface = h("div", {class: plane ? "surface with-plane" : "surface", tabindex: 0, role: "application", style: `--size:${size}px`,
    "aria-label": plane ? "Plane of codes. Drag, or use the arrow keys." : "Map of test images. Point at one, or use the arrow keys."},
    plane && strip(tiles, range(plane.y.length).flatMap(row => range(plane.x.length).map(column =>
      (plane.y.length - 1 - row) * plane.x.length + column)), {columns: plane.x.length, gap: 0}),
    map && mapPlot(map, size, area), cross);
  let at = [size / 2, size / 2], nearest = 0;
  const show = () => {
    const [px, py] = at, words = [];
    Object.assign(cross.style, {left: `${px / size * 100}%`, top: `${py / size * 100}%`});
    if (plane) {
      const cx = x0 + px / size * (x1 - x0), cy = y1 - py / size * (y1 - y0);
      const closest = (axis, value) => axis.reduce((best, v, i) => Math.abs(v - value) < Math.abs(axis[best] - value) ? i : best, 0);
      view.show(0, tiles, closest(plane.y, cy) * plane.x.length + closest(plane.x, cx));
      words.push(`code (${cx.toFixed(2)}, ${cy.toFixed(2)})`.replaceAll("-", "−"));
    }
    if (map && stored) {
      view.show(titles.length - 2, originals, nearest);
      view.show(titles.length - 1, copies, nearest);
      words.push(`test image ${nearest + 1}${className(nearest) ? `, class ${className(nearest)}` : ""}`);
    }
    note.textContent = words.join(" · ") || "No images are stored for this map.";
  };
  const find = () => {
    let least = Infinity;
    for (const index of range(stored)) {
      const [x, y] = mapPoint(map, index, size, area), distance = (x - at[0]) ** 2 + (y - at[1]) ** 2;
      if (distance < least) [least, nearest] = [distance, index];
    }
    if (!plane && stored) at = mapPoint(map, nearest, size, area);
  };
  const move = event => {
    const bounds = surface.getBoundingClientRect();
    at = [clamp((event.clientX - bounds.left) / bounds.width, 0, 1) * size, clamp((event.clientY - bounds.top) / bounds.height, 0, 1) * size];
    find();
    show();
  };
  surface.addEventListener("pointermove", event => (event.pointerType === "mouse" || event.buttons) && move(event));
  surface.addEventListener("pointerdown", move);
  surface.addEventListener("keydown", event => {
    const step = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]}[event.key];
    if (!step) return;
    event.preventDefault();
    event.stopPropagation();
    if (plane) {
      at = [clamp(at[0] + step[0] * size / 40, 0, size), clamp(at[1] + step[1] * size / 40, 0, size)];
      find();
    } else if (stored) {
      nearest = (nearest + step[0] + step[1] + stored) % stored;
      at = mapPoint(map, nearest, size, area);
    }
    show();
  });
  find();
  show();
  const title = plane ? "Plane of codes" : map.code ? "Codes" : "Map of features (t-SNE)";
  const text = plane
    ? "Drag: the decoder draws the code below the pointer. Dots are the codes of test images."
    : stored ? `Point at one of the first ${stored} test images.` : "One dot is one test image.";
  return h("section", {class: plane ? "explore wide" : "explore"}, h("h3", {}, title), h("p", {class: "hint"}, text),
    h("div", {class: "beside"}, surface, h("div", {}, view.element, note, map && legend())));
};

// Samples of fixed codes at several times of the training, with a slider.
const trainingSlider = (name, columns = 8) => {
  const sprite = spriteOf(name, "training_samples"), training = data.models[name].training;
  const times = sprite ? Math.min(training.images.length, Math.floor(sprite.n / 16)) : 0;
  if (times < 2) return null;
  const canvas = strip(sprite, range(16), {columns, factor: factorFor(sprite, 56)});
  const what = training.reconstructions ? "Reconstructions of 16 validation images" : "Samples of 16 fixed codes";
  const output = h("output", {class: "when"});
  const slider = h("input", {type: "range", min: 0, max: times - 1, value: times - 1, step: 1, "aria-label": "Time of the training"});
  const show = () => {
    const time = +slider.value, text = `after ${grouped(training.images[time])} images`;
    output.textContent = text;
    slider.setAttribute("aria-valuetext", text);
    canvas.setAttribute("role", "img");
    canvas.removeAttribute("aria-hidden");
    canvas.setAttribute("aria-label", `${what} ${text}`);
    paint(canvas, sprite, range(16).map(i => time * 16 + i), columns);
  };
  let timer = 0;
  const stop = () => (clearInterval(timer), timer = 0, play.textContent = "Play");
  const play = h("button", {type: "button", class: "button", click: () => {
    if (timer) return stop();
    slider.value = 0;
    show();
    play.textContent = "Stop";
    timer = setInterval(() => {
      if (+slider.value >= times - 1 || !play.isConnected) return stop();
      slider.value = +slider.value + 1;
      show();
    }, calm.matches ? 1400 : 650);
  }}, "Play");
  slider.addEventListener("input", () => (stop(), show()));
  slider.addEventListener("keydown", event => event.stopPropagation());
  show();
  return h("section", {class: "training"}, h("h3", {}, "During training"), h("p", {class: "hint"}, `${what}.`),
    canvas, h("div", {class: "player"}, play, slider, output));
};
