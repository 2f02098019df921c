// Connects the parts of the page.

import { find, say } from "./dom.js";
import { Ask } from "./ask.js";
import { Connection, post } from "./connection.js";
import { Labels } from "./labels.js";
import { Pixel } from "./pixel.js";
import { Status } from "./status.js";
import { Teach } from "./teach.js";
import { View } from "./view.js";

const KEPT_SETS = 8;
const NO_NODE = "No node of lseg_ros can be seen. Start one with lseg_node; ROS_DOMAIN_ID and RMW_IMPLEMENTATION must be as they are for lseg_console.";

const state = { node: "", camera: "", nodes: [], sets: new Map(), status: null };
const where = () => ({ node: state.node, camera: state.camera });

const labels = new Labels(() => state.node);
const view = new View({
  labels: (version) => state.sets.get(version) ?? labels.inForce.labels,
  pick: (u, v, frame) => pixel.ask(u, v, frame),
  shares: (shares) => labels.setShares(shares),
  thawed: () => {
    ask.thawed();
    teach.thawed();
  },
});
const ask = new Ask(where, view);
const teach = new Teach(where, view, labels);
const pixel = new Pixel(where, () => labels.inForce.labels);
const status = new Status();

const connection = new Connection({
  state: (text) => {
    find("connection").textContent = text;
    why();
  },
  frame: (buffer) => view.receive(buffer),
  message: (type, content) => receivers[type]?.(content),
});

const receivers = {
  nodes(nodes) {
    state.nodes = nodes;
    const names = nodes.map(({ name }) => name);
    if (state.node && !names.includes(state.node)) names.unshift(state.node); // it may come back
    fill(find("node"), names, state.node);
    if (!state.node && names.length) choose(names[0]);
    const cameras = nodes.find(({ name }) => name === state.node)?.cameras ?? [];
    if (cameras.length) {
      fill(find("camera"), cameras, state.camera);
      find("camera-choice").hidden = cameras.length < 2;
      if (!cameras.includes(state.camera)) chooseCamera(cameras[0]);
    }
    why();
  },
  labels(set) {
    if (set.version <= Math.max(0, ...state.sets.keys()) && !state.sets.has(set.version)) state.sets.clear(); // a restart
    state.sets.set(set.version, set.labels);
    while (state.sets.size > KEPT_SETS) state.sets.delete(state.sets.keys().next().value);
    labels.set(set);
    teach.names(set.labels.map(({ name }) => name));
    const names = set.labels.map(({ name }) => name);
    const chosen = find("score-label").value;
    fill(find("score-label"), names, chosen);
    watch();
  },
  status(statuses) {
    const own = statuses.find(({ camera }) => camera === state.camera) ?? statuses[0] ?? null;
    state.status = own;
    status.set(own);
    find("pause").textContent = own?.values.enabled === "False" ? "Resume the node" : "Pause the node";
    find("pause").disabled = own === null;
    why();
  },
  problem: (text) => say(find("caption"), text, "error"),
};

function fill(select, values, chosen) {
  const same = values.length === select.options.length && values.every((value, i) => select.options[i].value === value);
  if (!same) select.replaceChildren(...values.map((value) => new Option(value, value)));
  if (values.includes(chosen)) select.value = chosen;
}

function choose(node) {
  state.node = node;
  state.camera = "";
  state.sets.clear();
  state.status = null;
  labels.forget();
  status.forget();
  find("node").value = node;
  receivers.nodes(state.nodes);
  watch();
}

function chooseCamera(camera) {
  state.camera = camera;
  find("camera").value = camera;
  status.forget();
  watch();
}

function watch() {
  const layer = find("layer").value;
  find("score-choice").hidden = layer !== "score";
  view.setOpacity();
  const label = layer === "score" ? find("score-label").value : "";
  const kind = { overlay: "mask", mask: "mask", confidence: "confidence", score: "score" }[layer];
  if (state.node) connection.watch(state.node, state.camera, kind, label);
}

// Shows why no frame comes, if none comes.
function why() {
  const present = state.nodes.find(({ name }) => name === state.node);
  let text = "";
  if (!find("connection").textContent.startsWith("connected")) text = "";
  else if (!state.node) text = NO_NODE;
  else if (!present) text = `${state.node} is gone; it is shown again when it is back.`;
  else if (present.count > 1) text = `${present.count} nodes are called ${state.node}: their masks get mixed up. Give one another name or namespace.`;
  else if (state.status && (state.status.level > 0 || state.status.message !== "segmenting")) text = state.status.message;
  say(find("why"), text, state.status?.level === 0 && present ? "warning" : "error");
}

find("node").addEventListener("change", ({ target }) => choose(target.value));
find("camera").addEventListener("change", ({ target }) => chooseCamera(target.value));
find("layer").addEventListener("change", () => {
  view.live();
  watch();
});
find("score-label").addEventListener("change", watch);
find("pause").addEventListener("click", async () => {
  try {
    await post("enable", { node: state.node, enabled: state.status?.values.enabled === "False" });
  } catch (error) {
    say(find("why"), error.message, "error");
  }
});
why();
