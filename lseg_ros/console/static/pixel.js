// One pixel of the image: the labels that compete there.

import { find, make, percent, say, swatch } from "./dom.js";
import { post } from "./connection.js";

const MOST = 12; // most labels that are shown

export class Pixel {
  // where(): {node, camera}; labels(): those in force
  constructor(where, labels) {
    this.where = where;
    this.labels = labels;
    this.asked = 0;
  }

  async ask(u, v, frame) {
    const asked = ++this.asked;
    try {
      const answer = await post("probe", { ...this.where(), u, v });
      if (asked === this.asked) this.show(u, v, frame, answer);
    } catch (error) {
      if (asked !== this.asked) return;
      say(find("pixel-message"), error.message, "error");
      find("pixel").replaceChildren();
    }
  }

  show(u, v, frame, { stamp, version, competitors }) {
    const ranked = [...competitors].sort((a, b) => b.share - a.share);
    const [first, second] = ranked;
    const later = stamp[0] - frame.header.stamp[0] + (stamp[1] - frame.header.stamp[1]) / 1e9;
    const parts = [`Pixel ${u}, ${v}: ${first.name} wins.`];
    if (second) parts.push(`Without it: ${second.name}.`);
    if (Math.abs(later) > 1e-6) parts.push(`The answer is of the node's last image, ${Math.abs(later).toFixed(2)} s ${later > 0 ? "newer" : "older"} than the picture that was clicked.`);
    say(find("pixel-message"), parts.join(" "));
    const box = find("pixel");
    box.replaceChildren(...ranked.slice(0, MOST).map((competitor) => this.row(competitor)));
    if (ranked.length > MOST) box.append(make("p", { textContent: `and ${ranked.length - MOST} more` }));
    box.append(make("p", { textContent: `Shares of the softmax and cosines; labels of version ${version}.` }));
  }

  row({ name, share, cosine }) {
    const label = this.labels().find((known) => known.name === name);
    const bar = make("meter", { min: 0, max: 1, value: share });
    bar.setAttribute("aria-label", `Share of ${name}`);
    const number = (text) => make("span", { className: "number", textContent: text });
    const row = make("div", { className: "share" }, swatch(label?.color),
      make("span", { textContent: label ? name : `${name} (contrast)`, title: name }), bar, number(percent(share)), number(cosine.toFixed(3)));
    row.dataset.name = name;
    return row;
  }
}
