// Small helpers. Texts from the node or from users become text nodes, never markup.

export const find = (id) => document.getElementById(id);

export function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

export function say(element, text, kind = "") {
  element.textContent = text;
  element.hidden = !text;
  element.className = kind;
}

export const css = ([red, green, blue]) => `rgb(${red} ${green} ${blue})`;

export function swatch(color) {
  const element = make("span", { className: "swatch" });
  if (color) element.style.background = css(color);
  return element;
}

export const percent = (share) => (share > 0 && share < 0.001 ? "<0.1 %" : `${(100 * share).toFixed(1)} %`);
