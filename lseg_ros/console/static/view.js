// The live view: the camera's image, a layer over it, and marks on top.

import { find, say, percent } from "./dom.js";
import { drawMark } from "./teach.js";
import { bitmap, fromBase64, grays, heatColors, labelColors, paint, readFrame, sharesOf } from "./frame.js";

const CROSS = 9; // pixels of each arm
const DRAG = 5; // pixels of the screen from which a click is a rectangle

export class View {
  // handlers: {labels(version), pick(u, v, frame), shares(list)}
  constructor(handlers) {
    this.handlers = handlers;
    this.frame = null;
    this.frozen = false;
    this.cross = null; // [u, v] in pixels of the node's outputs
    this.box = null;
    this.shown = []; // when the last frames were shown
    this.marker = null; // gets what is clicked and dragged: {marks, point(u, v), box(left, top, width, height)}
    this.drag = null; // where it began: {at, x, y}
    this.stage = find("stage");
    this.image = find("image");
    this.over = find("over");
    this.marks = find("marks");
    this.stage.addEventListener("click", (event) => this.click(event));
    this.stage.addEventListener("keydown", (event) => this.key(event));
    this.stage.addEventListener("pointermove", (event) => this.hover(event));
    this.stage.addEventListener("pointerdown", (event) => this.press(event));
    this.stage.addEventListener("pointerup", (event) => this.release(event));
    this.stage.addEventListener("pointercancel", () => this.drop());
    find("opacity").addEventListener("input", () => this.setOpacity());
    find("live").addEventListener("click", () => this.live());
    document.addEventListener("keydown", ({ key }) => key === "Escape" && this.live());
    this.setOpacity();
  }

  setOpacity(opaque = find("layer").value === "mask") {
    this.over.style.opacity = opaque ? 1 : find("opacity").value / 100;
    find("opacity").disabled = opaque;
  }

  async receive(buffer) {
    const frame = await readFrame(buffer);
    if (this.frozen) return;
    this.frame = frame;
    const now = performance.now();
    this.shown = [...this.shown.filter((time) => now - time < 5000), now];
    this.draw();
  }

  draw() {
    const { header, image, values } = this.frame;
    const [width, height, size] = header.grid;
    this.drawImage(image, width, height);
    const labels = this.handlers.labels(header.version);
    const table = header.layer === "mask" ? labelColors(labels, size === 2) : heatColors;
    paint(this.over, values, width, height, table);
    if (header.layer === "mask") this.handlers.shares(sharesOf(values, labels.length));
    this.drawMarks();
    const rate = this.shown.length > 1 ? (this.shown.length - 1) / ((this.shown.at(-1) - this.shown[0]) / 1000) : 0;
    const parts = [`${header.size.join(" × ")}`, `image of ${header.stamp[0]}.${String(header.stamp[1]).padStart(9, "0").slice(0, 3)} s`, `${rate.toFixed(1)} frames/s shown`];
    if (header.rescored) parts.push("scored again after a change of labels");
    if (!image) parts.push(header.problem || "the camera's image did not arrive here");
    say(find("caption"), parts.join(" · "));
    this.stage.dataset.stamp = header.stamp.join(".");
    this.stage.dataset.version = header.version;
  }

  drawImage(image, width, height) {
    this.image.width = image ? image.width : width;
    this.image.height = image ? image.height : height;
    if (image) this.image.getContext("2d").drawImage(image, 0, 0);
  }

  drawMarks() {
    const [width, height] = this.frame ? this.frame.header.size : [0, 0];
    this.marks.width = width;
    this.marks.height = height;
    const context = this.marks.getContext("2d");
    context.lineWidth = Math.max(2, width / 320);
    const stroke = (path) => {
      context.strokeStyle = "black";
      context.stroke(path);
      context.setLineDash([8, 8]);
      context.strokeStyle = "white";
      context.stroke(path);
      context.setLineDash([]);
    };
    for (const mark of this.marker?.marks ?? []) drawMark(context, mark, Math.max(5, width / 80));
    if (this.box) {
      const path = new Path2D();
      path.rect(...this.box);
      stroke(path);
    }
    if (this.cross) {
      const [u, v] = this.cross.map((c) => c + 0.5);
      const arm = CROSS * Math.max(1, width / 640);
      const path = new Path2D();
      path.moveTo(u - arm, v);
      path.lineTo(u + arm, v);
      path.moveTo(u, v - arm);
      path.lineTo(u, v + arm);
      stroke(path);
    }
  }

  mark(cross, box = null) {
    this.cross = cross;
    this.box = box;
    if (this.frame) this.drawMarks();
  }

  // Shows a heat map on the image that was searched, until `live`.
  async freeze(stamp, imageText, match) {
    const picture = imageText ? await bitmap(fromBase64(imageText)) : null;
    const heat = await bitmap(fromBase64(match.heat));
    this.frozen = true;
    const header = { layer: "heat", size: match.size, grid: [heat.width, heat.height, 1], stamp };
    this.frame = { header, image: picture, values: await grays(heat) };
    this.drawImage(picture, ...match.size);
    paint(this.over, this.frame.values, heat.width, heat.height, heatColors);
    this.setOpacity(false);
    this.mark([match.u, match.v], match.box);
    say(find("caption"), `${match.phrase}: score ${match.score.toFixed(2)}, cosine ${match.cosine.toFixed(3)}, best at ${match.u}, ${match.v} · the picture stands still`);
    find("live").hidden = false;
    this.stage.dataset.frozen = match.phrase;
  }

  // Shows an image without a layer, and gives what is marked in it to a marker, until `live`.
  async still(stamp, imageText, marker) {
    const picture = await bitmap(fromBase64(imageText));
    const { size } = this.frame.header;
    this.frozen = true;
    this.frame = { header: { layer: "none", size, grid: [1, 1, 1], stamp }, image: picture, values: new Uint8Array(1) };
    this.drawImage(picture, ...size);
    this.over.width = this.over.height = 1; // empty
    this.marker = marker;
    this.stage.classList.add("marking");
    this.mark(null);
    say(find("caption"), "The picture stands still for marks.");
    find("live").hidden = false;
    this.stage.dataset.frozen = "marks";
  }

  live() {
    if (!this.frozen) return;
    this.frozen = false;
    this.marker = null;
    this.drag = null;
    this.stage.classList.remove("marking");
    find("live").hidden = true;
    delete this.stage.dataset.frozen;
    this.setOpacity();
    this.mark(null);
    this.handlers.thawed();
  }

  // Pixel of the node's outputs under the pointer.
  at({ clientX, clientY }) {
    const { left, top, width, height } = this.stage.getBoundingClientRect();
    const [columns, rows] = this.frame.header.size;
    const u = Math.floor(((clientX - left) / width) * columns);
    const v = Math.floor(((clientY - top) / height) * rows);
    return [Math.min(Math.max(u, 0), columns - 1), Math.min(Math.max(v, 0), rows - 1)];
  }

  click(event) {
    if (this.frame && !this.marker) this.pick(...this.at(event));
  }

  press(event) {
    if (!this.marker || event.button !== 0) return;
    this.drag = { at: this.at(event), x: event.clientX, y: event.clientY };
    this.stage.setPointerCapture(event.pointerId);
  }

  release(event) {
    if (!this.drag) return;
    const { at, x, y } = this.drag;
    const far = Math.hypot(event.clientX - x, event.clientY - y) >= DRAG;
    const box = this.boxTo(this.at(event));
    this.drop();
    if (far) this.marker.box(...box);
    else this.marker.point(...at);
  }

  drop() {
    this.drag = null;
    this.mark(this.cross);
  }

  // The rectangle from where the drag began to a pixel.
  boxTo(end) {
    const start = this.drag.at;
    return [...start.map((c, i) => Math.min(c, end[i])), ...start.map((c, i) => Math.abs(c - end[i]) + 1)];
  }

  pick(u, v) {
    if (this.marker) {
      this.marker.point(u, v);
      return;
    }
    this.mark([u, v], this.frozen ? this.box : null);
    this.handlers.pick(u, v, this.frame);
  }

  key(event) {
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (!this.frame) return;
    const [columns, rows] = this.frame.header.size;
    const [u, v] = this.cross ?? [Math.floor(columns / 2), Math.floor(rows / 2)];
    if (event.key in steps) {
      const [du, dv] = steps[event.key].map((step) => step * (event.shiftKey ? 20 : 4));
      this.mark([Math.min(Math.max(u + du, 0), columns - 1), Math.min(Math.max(v + dv, 0), rows - 1)], this.box);
    } else if (event.key === "Enter" || event.key === " ") {
      this.pick(u, v);
    } else {
      return;
    }
    event.preventDefault();
  }

  hover(event) {
    if (!this.frame) return;
    if (this.drag) this.mark(this.cross, this.boxTo(this.at(event)));
    const { header, values } = this.frame;
    const [u, v] = this.at(event);
    const [width, height] = header.grid;
    const value = values[Math.floor((v * height) / header.size[1]) * width + Math.floor((u * width) / header.size[0])];
    const labels = header.layer === "mask" ? this.handlers.labels(header.version) : [];
    const texts = { mask: labels[value]?.name ?? "unknown", none: "" };
    this.stage.title = `${texts[header.layer] ?? percent(value / 255)} (${u}, ${v})`;
  }
}
