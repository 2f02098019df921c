// Teaches a label by marked pixels of a still image.

import { find, make, say } from "./dom.js";
import { post } from "./connection.js";

const HOW = "Click pixels, or drag rectangles: of the label, or of what it is not.";

export class Teach {
  // where(): {node, camera}; view: the View; labels: the Labels
  constructor(where, view, labels) {
    this.where = where;
    this.view = view;
    this.labels = labels;
    this.marks = []; // {toward, point: [u, v]} or {toward, box: [left, top, width, height]}
    this.stamp = null;
    this.hint = find("teach-message").textContent;
    find("teach-start").addEventListener("click", () => this.start());
    find("teach").addEventListener("submit", (event) => this.apply(event));
    find("teach-back").addEventListener("click", () => this.change(() => this.marks.pop()));
    find("teach-cancel").addEventListener("click", () => this.view.live());
  }

  names(names) {
    find("teach-names").replaceChildren(...names.map((name) => new Option(name)));
  }

  async start() {
    try {
      const { stamp, image } = await post("hold", this.where());
      if (!image) throw new Error("The picture of the node's last image did not arrive here; try again.");
      await this.view.still(stamp, image, this);
      this.stamp = stamp;
      find("teach-tools").hidden = false;
      this.change(() => { this.marks = []; });
      say(find("teach-message"), HOW);
      this.view.stage.focus();
    } catch (error) {
      say(find("teach-message"), error.message, "error");
    }
  }

  // The View calls these.
  point(u, v) {
    this.change(() => this.marks.push({ toward: find("teach-toward").checked, point: [u, v] }));
  }

  box(...box) {
    this.change(() => this.marks.push({ toward: find("teach-toward").checked, box }));
  }

  thawed() {
    this.stamp = null;
    this.marks = [];
    find("teach-tools").hidden = true;
    if (find("teach-message").textContent === HOW) say(find("teach-message"), this.hint);
  }

  change(edit) {
    edit();
    this.view.drawMarks();
    find("teach-apply").disabled = find("teach-back").disabled = !this.marks.length;
    const count = (toward) => this.marks.filter((mark) => mark.toward === toward).length;
    find("teach-count").textContent = `${count(true)} for it, ${count(false)} against it`;
  }

  async apply(event) {
    event.preventDefault();
    const label = find("teach-label").value.trim();
    if (!this.stamp || !label) {
      say(find("teach-message"), this.stamp ? "Name the label first." : "Mark pixels first.", "error");
      return;
    }
    if (this.labels.edited) {
      say(find("teach-message"), "Apply or discard the edits of the labels first.", "error");
      return;
    }
    const side = (toward) => {
      const marks = this.marks.filter((mark) => mark.toward === toward);
      return { points: marks.flatMap(({ point }) => (point ? [point] : [])), boxes: marks.flatMap(({ box }) => (box ? [box] : [])) };
    };
    find("teach-apply").disabled = true;
    try {
      const answer = await post("teach", {
        ...this.where(), label, toward: side(true), against: side(false), stamp: this.stamp, alone: find("teach-alone").checked,
      });
      this.labels.changedElsewhere(answer.before);
      this.view.live();
      say(find("teach-message"), `${answer.message} (version ${answer.version}). Undo in Labels takes it back; Save as YAML keeps it.`);
    } catch (error) {
      say(find("teach-message"), error.message, "error");
      find("teach-apply").disabled = false;
    }
  }
}

// Draws a plus for the label and a minus against it, so that they differ in more than the color.
export function drawMark(context, { toward, point, box }, size) {
  const path = new Path2D();
  const [u, v] = point ?? [box[0] + box[2] / 2, box[1] + box[3] / 2];
  if (box) path.rect(...box);
  path.moveTo(u + 0.5 - size, v + 0.5);
  path.lineTo(u + 0.5 + size, v + 0.5);
  if (toward) {
    path.moveTo(u + 0.5, v + 0.5 - size);
    path.lineTo(u + 0.5, v + 0.5 + size);
  }
  context.save();
  for (const [color, width] of [["black", size / 2], [toward ? "#5ff2a5" : "#ff9d7d", size / 5]]) {
    context.lineWidth = width;
    context.strokeStyle = color;
    context.stroke(path);
  }
  context.restore();
}

// Shows what a label was taught, in the list of labels.
export function taughtRow(taught, forget) {
  const count = (vectors) => vectors?.length ?? 0;
  const button = make("button", { type: "button", textContent: "Forget" });
  button.addEventListener("click", forget);
  const words = taught.alone ? ", without its words" : "";
  return make("p", {}, `Taught: ${count(taught.for)} for it, ${count(taught.against)} against it${words} `, button);
}
