// The list of labels: those in force, and edits of them that are applied all or none.

import { find, make, percent, say, swatch } from "./dom.js";
import { get, post } from "./connection.js";
import { taughtRow } from "./teach.js";

export class Labels {
  // node(): full name of the node that is shown
  constructor(node) {
    this.node = node;
    this.inForce = { version: 0, labels: [] };
    this.draft = [];
    this.edited = false;
    this.before = []; // label lists for Undo
    this.shares = [];
    this.open = new Set(); // entries whose details are shown
    this.body = find("labels").tBodies[0];
    find("add").addEventListener("submit", (event) => this.add(event));
    find("apply").addEventListener("click", () => this.apply(this.draft, false));
    find("force").addEventListener("click", () => this.apply(this.draft, true));
    find("revert").addEventListener("click", () => this.revert());
    find("undo").addEventListener("click", () => this.undo());
    find("files").addEventListener("change", ({ target }) => {
      if (target.value) this.load({ name: target.value, text: "" });
      target.value = "";
    });
    find("upload").addEventListener("change", async ({ target }) => {
      const [file] = target.files;
      if (file) await this.load({ name: "", text: await file.text() });
      target.value = "";
    });
    get("/api/label_files").then((names) => find("files").append(...names.map((name) => new Option(name))), () => {});
    find("label-message").dataset.kind = "";
  }

  // Shows the labels in force.
  set(labelSet) {
    this.inForce = labelSet;
    if (!this.edited) this.revert();
    this.buttons();
  }

  forget() {
    this.before = [];
    this.edited = false;
    this.set({ version: 0, labels: [] });
  }

  revert() {
    this.edited = false;
    this.draft = this.inForce.labels.map(({ name, class_id, prompts, threshold, background, color, taught }) => ({
      name, class_id, threshold, background, color, taught, prompts: prompts.length === 1 && prompts[0] === name ? [] : prompts, was: name,
    }));
    this.open.clear();
    find("force").hidden = true;
    this.render();
  }

  edit(change) {
    change();
    this.edited = true;
    this.render();
  }

  add(event) {
    event.preventDefault();
    const name = find("add-name").value.trim();
    if (!name) return;
    const entry = { name, class_id: null, prompts: [], threshold: 0, background: false, color: null, taught: null, was: null };
    this.apply([...this.draft, entry], false).then((done) => {
      if (done) find("add-name").value = "";
    });
  }

  async load(source) {
    try {
      const entries = await post("read_labels", source);
      this.edit(() => {
        this.draft = entries.map((entry) => ({ ...entry, was: null }));
      });
      this.message("Loaded, not in force yet: look at the labels, then apply them.");
    } catch (error) {
      this.message(error.message, "error");
    }
  }

  // Returns whether the node accepted them.
  async apply(entries, force) {
    const before = this.inForce.labels;
    const labels = entries.map(({ name, class_id, prompts, threshold, background, color, taught }) => ({
      name, class_id: background ? null : class_id, prompts, threshold, background, color, taught,
    }));
    find("apply").disabled = true;
    try {
      const inForce = await post("labels", { node: this.node(), labels, force });
      this.before.push(before);
      this.edited = false;
      this.set(inForce);
      this.message(`${inForce.message} (version ${inForce.version})`);
      return true;
    } catch (error) {
      this.message(error.message, "error");
      find("force").hidden = force || !error.message.includes("force");
      if (!find("force").hidden) this.edit(() => { this.draft = entries; });
      this.buttons();
      return false;
    }
  }

  // Other parts of the page have changed the labels: Undo takes that back too.
  changedElsewhere(before) {
    this.before.push(before);
    this.buttons();
  }

  async undo() {
    const labels = this.before.at(-1);
    const kept = this.before.slice(0, -1);
    if (await this.apply(labels.map((label) => ({ ...label })), false)) {
      this.before = kept;
      this.buttons();
    }
  }

  message(text, kind = "") {
    say(find("label-message"), text, kind);
  }

  setShares(shares) {
    this.shares = shares;
    for (const cell of this.body.querySelectorAll("[data-share]")) {
      const place = this.inForce.labels.findIndex(({ name }) => name === cell.dataset.share);
      cell.textContent = place in shares && !this.inForce.labels[place].background ? percent(shares[place]) : "";
    }
  }

  buttons() {
    find("apply").disabled = !this.edited;
    find("apply").className = this.edited ? "main" : "";
    find("revert").disabled = !this.edited;
    find("undo").disabled = !this.before.length;
    find("save").href = `/api/labels.yaml?node=${encodeURIComponent(this.node())}`;
  }

  render() {
    const focus = document.activeElement?.dataset.key;
    this.body.replaceChildren(...this.draft.flatMap((entry, place) => this.rows(entry, place)));
    if (focus) this.body.querySelector(`[data-key="${CSS.escape(focus)}"]`)?.focus();
    this.setShares(this.shares);
    this.buttons();
  }

  rows(entry, place) {
    const button = (text, title, key, disabled, change) => {
      const made = make("button", { type: "button", textContent: text, title, disabled });
      made.setAttribute("aria-label", `${title}: ${entry.name}`);
      made.dataset.key = `${key} ${place}`;
      made.addEventListener("click", change);
      return made;
    };
    const move = (by) => () => this.edit(() => {
      this.draft.splice(place + by, 0, ...this.draft.splice(place, 1));
    });
    const name = make("input", { value: entry.name, maxLength: 256 });
    name.setAttribute("aria-label", "Name");
    name.dataset.key = `name ${place}`;
    name.addEventListener("change", () => this.edit(() => {
      // Another name is another label, to which the node gives its own id and color.
      const kept = this.inForce.labels.find((label) => label.name === name.value.trim());
      Object.assign(entry, { name: name.value.trim(), class_id: kept?.class_id ?? null, color: kept?.color ?? null });
    }));
    const share = make("td", { className: "number" });
    share.dataset.share = entry.name;
    const row = make("tr", { className: entry.was === entry.name ? "" : "changed" },
      make("td", {}, swatch(entry.color)),
      make("td", { className: "name" }, name),
      make("td", { className: "number", textContent: entry.background ? "–" : entry.class_id ?? "new" }),
      share,
      make("td", { className: "tools" },
        button("↑", "Move up", "up", place === 0, move(-1)),
        button("↓", "Move down", "down", place === this.draft.length - 1, move(1)),
        button("…", "Synonyms, threshold, background", "more", false, () => {
          if (!this.open.delete(entry)) this.open.add(entry);
          this.render();
        }),
        button("✕", "Remove", "remove", false, () => this.edit(() => this.draft.splice(place, 1)))));
    row.dataset.label = entry.name;
    return this.open.has(entry) ? [row, this.details(entry, place)] : [row];
  }

  details(entry, place) {
    const field = (text, element, key, change) => {
      element.dataset.key = `${key} ${place}`;
      element.addEventListener("change", () => this.edit(change));
      return make("label", {}, `${text} `, element);
    };
    const prompts = make("textarea", { rows: 3, value: entry.prompts.join("\n") });
    const threshold = make("input", { type: "number", min: 0, max: 1, step: 0.05, value: entry.threshold });
    const background = make("input", { type: "checkbox", checked: entry.background });
    const cell = make("td", { colSpan: 4 },
      field("Phrases, one a line; the best one counts (empty: the name)", prompts, "prompts", () => {
        entry.prompts = prompts.value.split("\n").map((text) => text.trim()).filter(Boolean);
      }),
      field("Threshold from 0 to 1 (0: the node's)", threshold, "threshold", () => {
        entry.threshold = Number(threshold.value) || 0;
      }),
      field("Background: competes, and comes out as unknown", background, "background", () => {
        entry.background = background.checked;
        entry.class_id = this.inForce.labels.find((label) => label.name === entry.name && !label.background)?.class_id ?? null;
      }));
    if (entry.taught) cell.append(taughtRow(entry.taught, () => this.edit(() => { entry.taught = null; })));
    return make("tr", { className: "more" }, make("td"), cell);
  }
}
