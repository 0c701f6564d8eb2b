// Charts as SVG: axes, curves with a reading line, and the scatter plot of all models.
const ticksOf = (low, high, log) => {
  if (log) {
    const found = [], steps = Math.log10(high / low) > 2 ? [1] : Math.log10(high / low) > .8 ? [1, 2, 5] : range(9).map(i => i + 1);
    for (let e = Math.floor(Math.log10(low)); e <= Math.log10(high); e++)
      for (const step of steps) {
        const tick = step * 10 ** e;
        if (tick >= low * .999 && tick <= high * 1.001) found.push(+tick.toPrecision(6));
      }
    return found.length < 9 ? found : found.filter((_, index) => index % 2 === 0);
  }
  const rough = (high - low) / 4, power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].reduce((a, b) => Math.abs(b - rough / power) < Math.abs(a - rough / power) ? b : a);
  const first = Math.ceil(low / step - 1e-9), last = Math.floor(high / step + 1e-9);
  return range(last - first + 1).map(i => (first + i) * step);
};
// The function from values to pixels, low → start, high → stop.
const axisOf = (low, high, start, stop, log, margin = 0) => {
  if (high <= low) {
    const half = log ? 0 : Math.abs(low) * .1 || .5;
    [low, high] = log ? [low / 1.5, high * 1.5] : [low - half, high + half];
  }
  const f = log ? Math.log10 : value => value;
  const spare = margin * (f(high) - f(low)), first = f(low) - spare, length = f(high) - f(low) + 2 * spare;
  const scale = value => start + (f(value) - first) / length * (stop - start);
  const back = value => log ? 10 ** value : value;
  scale.ticks = ticksOf(...margin > .06 ? [back(first), back(first + length)] : [low, high], log);
  return scale;
};
const frame = (x, y, box, xLabel, yLabel) => [
  y.ticks.map(tick => s("g", {},
    s("path", {class: "grid", d: `M${box.left} ${y(tick)}H${box.right}`}),
    s("text", {class: "tick", "text-anchor": "end", x: box.left - 7, y: y(tick) + 4}, short(tick)))),
  x.ticks.map(tick => s("text", {class: "tick", "text-anchor": "middle", x: x(tick), y: box.bottom + 17}, short(tick))),
  s("path", {class: "axis", d: `M${box.left} ${box.bottom}H${box.right}`}),
  xLabel && s("text", {class: "axis-name", "text-anchor": "end", x: box.right, y: box.bottom + 34}, xLabel),
  yLabel && s("text", {class: "axis-name", x: 0, y: 11}, yLabel),
];

// Lines on common axes. lines: [{name, color, dash, x, y}]. Pointer or arrow keys read values.
const lineChart = ({title, lines, missing = 0, width = 380, height = 210}) => {
  const note = missing ? ` (${missing} not finite)` : "";
  const xs = lines.flatMap(line => line.x), ys = lines.flatMap(line => line.y);
  const head = h("figcaption", {}, h("b", {}, title + note));
  if (!ys.length) return h("figure", {class: "chart"}, head, h("p", {class: "hint"}, "no finite values"));
  const log = Math.min(...ys) > 0 && Math.max(...ys) / Math.min(...ys) > 50;
  const box = {left: 46, right: width - 8, top: log ? 26 : 10, bottom: height - 40};  // space for the name of the y axis
  const x = axisOf(Math.min(0, ...xs), Math.max(...xs), box.left, box.right, false);
  const y = axisOf(Math.min(...ys), Math.max(...ys), box.bottom, box.top, log, .05);
  const reading = s("g", {class: "reading", visibility: "hidden"});
  const svg = s("svg", {
    viewBox: `0 0 ${width} ${height}`, role: "img", tabindex: 0,
    "aria-label": `${title}. ${lines.map(line => `${line.name}: ends at ${short(line.y.at(-1))}`).join("; ")}. Arrow keys read values.`,
  }, frame(x, y, box, "training images", log && "log scale"),
  lines.map(line => s("path", {
    class: "line", stroke: line.color, "stroke-dasharray": line.dash, d: "M" + line.x.map((v, i) => `${x(v).toFixed(1)} ${y(line.y[i]).toFixed(1)}`).join("L"),
  })), reading);
  const readout = h("p", {class: "readout", "aria-live": "polite"});
  const rest = () => {
    reading.setAttribute("visibility", "hidden");
    readout.replaceChildren(...lines.map(line => h("span", {}, swatch(line), line.name, " ", h("b", {}, short(line.y.at(-1))))));
  };
  const read = value => {
    const at = lines.filter(line => line.x.length).map(line => {
      const i = line.x.reduce((best, v, index) => Math.abs(v - value) < Math.abs(line.x[best] - value) ? index : best, 0);
      return {line, i};
    });
    reading.setAttribute("visibility", "visible");
    const px = x(clamp(value, Math.min(...xs), Math.max(...xs)));
    reading.replaceChildren(s("path", {d: `M${px} ${box.top}V${box.bottom}`}), ...at.map(({line, i}) =>
      s("circle", {cx: x(line.x[i]), cy: y(line.y[i]), r: 3.5, fill: line.color})));
    readout.replaceChildren(...at.map(({line, i}) => h("span", {}, swatch(line), line.name, " ", h("b", {}, short(line.y[i])))),
      h("span", {class: "at"}, `at ${short(value)} images`));
  };
  let cursor = null;
  const toValue = event => {
    const bounds = svg.getBoundingClientRect(), px = (event.clientX - bounds.left) / bounds.width * width;
    const part = (px - x(Math.min(0, ...xs))) / (x(Math.max(...xs)) - x(Math.min(0, ...xs)));
    return clamp(part, 0, 1) * (Math.max(...xs) - Math.min(0, ...xs)) + Math.min(0, ...xs);
  };
  svg.addEventListener("pointermove", event => read(toValue(event)));
  svg.addEventListener("pointerleave", rest);
  svg.addEventListener("blur", rest);
  svg.addEventListener("keydown", event => {
    const step = {ArrowLeft: -1, ArrowRight: 1}[event.key];
    if (!step) return;
    event.preventDefault();
    event.stopPropagation();
    const stops = lines[0].x;
    cursor = clamp((cursor ?? (step > 0 ? -1 : stops.length)) + step, 0, stops.length - 1);
    read(stops[cursor]);
  });
  rest();
  return h("figure", {class: "chart"}, head, svg, readout);
};
const swatch = line => s("svg", {class: "swatch", viewBox: "0 0 18 8", "aria-hidden": "true"},
  s("path", {class: "line", stroke: line.color, "stroke-dasharray": line.dash, d: "M0 4H18"}));

const SHAPES = {
  AE: r => `M${-r} 0a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0Z`,
  VAE: r => `M${-r * .9} ${-r * .9}H${r * .9}V${r * .9}H${-r * .9}Z`,
  GAN: r => `M0 ${-r * 1.15}L${r * 1.1} ${r * .85}H${-r * 1.1}Z`,
  Diffusion: r => `M0 ${-r * 1.25}L${r * 1.25} 0L0 ${r * 1.25}L${-r * 1.25} 0Z`,
};

// FID against MSE. Each point is a link to its model, and shows samples on hover and on focus.
const scatterChart = (rows, width) => {
  const [kx, ky] = ["reconstruction_mse", "fid"], height = clamp(width * .62, 300, 430);
  const positive = row => row.values[kx]?.v > 0 && row.values[ky]?.v > 0;
  const points = rows.filter(row => row.family && positive(row));
  if (points.length < 2) return null;
  // The models choose the range; a baseline far outside of it is left out.
  const box = {left: 52, right: width - 14, top: 22, bottom: height - 44};
  const ends = key => { const all = points.map(row => row.values[key].v); return [Math.min(...all), Math.max(...all)]; };
  const x = axisOf(...ends(kx), box.left, box.right, true, .09), y = axisOf(...ends(ky), box.bottom, box.top, true, .11);
  const inside = row => x(row.values[kx].v) >= box.left && x(row.values[kx].v) <= box.right &&
    y(row.values[ky].v) >= box.top - 6 && y(row.values[ky].v) <= box.bottom;
  const baselines = rows.filter(row => !row.family && positive(row) && inside(row)), all = [...points, ...baselines];
  const real = rowOf.real?.values[ky]?.v, realAt = real > 0 ? Math.min(y(real), box.bottom - 6) : 0;
  const taken = [{x: box.left, y: realAt - 12, w: 120, h: 14}, ...all.map(row => ({x: x(row.values[kx].v) - 7, y: y(row.values[ky].v) - 7, w: 14, h: 14}))];
  const place = (text, px, py) => {
    const w = text.length * 6.5, options = [
      [px + 10, py + 4, "start"], [px - 10, py + 4, "end"], [px, py - 11, "middle"], [px, py + 20, "middle"],
      [px + 9, py - 7, "start"], [px + 9, py + 15, "start"], [px - 9, py - 7, "end"], [px - 9, py + 15, "end"]];
    for (const [tx, ty, anchor] of options) {
      const left = anchor === "start" ? tx : anchor === "end" ? tx - w : tx - w / 2;
      const at = {x: left, y: ty - 10, w, h: 13};
      if (left < box.left + 2 || left + w > width || at.y < 8 || ty > box.bottom) continue;
      if (taken.some(o => at.x < o.x + o.w && o.x < at.x + at.w && at.y < o.y + o.h && o.y < at.y + at.h)) continue;
      taken.push(at);
      return s("text", {class: "label", "text-anchor": anchor, x: tx, y: ty}, text);
    }
    return null;
  };
  const svg = s("svg", {viewBox: `0 0 ${width} ${height}`, width, height, role: "group", "aria-label": "Scatter plot of FID against mean squared error"},
    frame(x, y, box, "MSE of reconstructions →", "↑ FID of samples"),
    real > 0 && s("g", {class: "bound"}, y(real) <= box.bottom && s("path", {d: `M${box.left} ${y(real)}H${box.right}`}),
      s("text", {x: box.left + 6, y: realAt}, `real images ${rowOf.real.values[ky].t}${y(real) > box.bottom ? " ↓" : ""}`)),
    baselines.map(row => s("g", {class: "baseline"},
      s("circle", {cx: x(row.values[kx].v), cy: y(row.values[ky].v), r: 3.5}, s("title", {}, row.title)))),
    points.map(row => {
      const [px, py] = [x(row.values[kx].v), y(row.values[ky].v)];
      const few = fewText(row.values[kx]);
      const text = `${row.title}: FID ${row.values[ky].t}, MSE ${row.values[kx].t}${few ? ` (${few})` : ""}`;
      return s("a", {href: modelLink(row.name), class: "point", "data-family": row.family, "aria-label": text, ...peeking(row.name)},
        few && s("title", {}, text), s("circle", {class: "hit", cx: px, cy: py, r: 14}),
        s("path", {d: (SHAPES[row.family] || SHAPES.AE)(6), transform: `translate(${px} ${py})`}), place(row.name, px, py));
    }),
    baselines.map(row => s("g", {class: "baseline"}, place(row.title, x(row.values[kx].v), y(row.values[ky].v)))));
  return svg;
};
