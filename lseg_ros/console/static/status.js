// The state of the node: its diagnostics, and plots of the last minute.

import { find, make, say } from "./dom.js";

const SECONDS = 60;
const KINDS = ["", "warning", "error", "error"];
const PLOTS = [
  ["received_hz", "images in, per second"],
  ["segmented_hz", "images out, per second"],
  ["age_p50_ms", "age when sent, ms"],
  ...["wait", "decode", "preprocess", "encode", "score", "publish"].map((stage) => [`${stage}_p50_ms`, `${stage}, ms`]),
];

export class Status {
  constructor() {
    this.history = [];
  }

  forget() {
    this.history = [];
    this.set(null);
  }

  // Shows the status of one camera, once a second; null if there is none.
  set(status) {
    say(find("status-message"), status ? status.message : "no diagnostics yet", status ? KINDS[status.level] : "");
    find("values").replaceChildren(...Object.entries(status?.values ?? {}).filter(([, value]) => value !== "").flatMap(
      ([key, value]) => [make("dt", { textContent: key.replaceAll("_", " ") }), make("dd", { textContent: value })]));
    this.history = [...this.history, status?.values ?? {}].slice(-SECONDS);
    const shown = PLOTS.filter(([key]) => this.history.some((values) => key in values));
    find("plots").replaceChildren(...shown.map(([key, title]) => this.plot(key, title)));
    for (const canvas of find("plots").querySelectorAll("canvas")) draw(canvas);
  }

  plot(key, title) {
    const values = this.history.map((entry) => Number(entry[key] ?? NaN));
    const canvas = make("canvas");
    canvas.values = values;
    const last = values.at(-1);
    return make("figure", {}, canvas, make("figcaption", { textContent: `${title}: ${Number.isNaN(last) ? "–" : last}` }));
  }
}

function draw(canvas) {
  const scale = window.devicePixelRatio || 1;
  canvas.width = canvas.clientWidth * scale;
  canvas.height = canvas.clientHeight * scale;
  const context = canvas.getContext("2d");
  const most = Math.max(1, ...canvas.values.filter((value) => !Number.isNaN(value)));
  context.strokeStyle = getComputedStyle(canvas).getPropertyValue("--accent");
  context.lineWidth = 1.5 * scale;
  context.beginPath();
  let drawing = false;
  canvas.values.forEach((value, i) => {
    const x = canvas.width * (1 - (canvas.values.length - 1 - i) / (SECONDS - 1));
    const y = canvas.height - 2 - (canvas.height - 6) * (value / most);
    if (Number.isNaN(value)) drawing = false;
    else if (drawing) context.lineTo(x, y);
    else {
      context.moveTo(x, y);
      drawing = true;
    }
  });
  context.stroke();
}
