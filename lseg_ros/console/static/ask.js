// Queries phrases in the last image. The labels do not change.

import { find, make, say } from "./dom.js";
import { post } from "./connection.js";

const KEPT = 6; // most answers that are shown

export class Ask {
  // where(): {node, camera}; view: the View
  constructor(where, view) {
    this.where = where;
    this.view = view;
    find("ask").addEventListener("submit", (event) => this.ask(event));
  }

  async ask(event) {
    event.preventDefault();
    const phrase = find("phrase").value.trim();
    if (!phrase) return;
    say(find("ask-message"), "looking");
    try {
      const { stamp, image, matches: [match] } = await post("query", { ...this.where(), phrases: [phrase] });
      say(find("ask-message"), "");
      const button = make("button", {
        type: "button",
        textContent: `${phrase}: score ${match.score.toFixed(2)}, cosine ${match.cosine.toFixed(3)}, at ${match.u}, ${match.v}`,
      });
      button.addEventListener("click", () => this.show(button, stamp, image, match));
      find("answers").prepend(make("li", {}, button));
      while (find("answers").children.length > KEPT) find("answers").lastChild.remove();
      await this.show(button, stamp, image, match);
    } catch (error) {
      say(find("ask-message"), error.message, "error");
    }
  }

  async show(button, stamp, image, match) {
    await this.view.freeze(stamp, image, match);
    this.thawed();
    button.setAttribute("aria-pressed", "true");
  }

  thawed() {
    for (const button of find("answers").querySelectorAll("button")) button.setAttribute("aria-pressed", "false");
  }
}
