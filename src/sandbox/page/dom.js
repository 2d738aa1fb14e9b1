// Helpers for elements, and formats of numbers and times.

export const $ = (id) => document.getElementById(id);

export const make = (name, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
};

export const icon = (name) => {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", "#" + name);
  svg.setAttribute("aria-hidden", "true");
  svg.append(use);
  return svg;
};

/// A button with an icon; the title is its accessible name.
export const iconButton = (name, title, onclick) => {
  const button = make("button", { type: "button", className: "icon", title, onclick }, icon(name));
  button.setAttribute("aria-label", title);
  return button;
};

/// Marks a button as busy. A disabled button would lose the focus, this one keeps it. Its handler must check `isBusy`.
export const setBusy = (button, busy) => button.setAttribute("aria-disabled", String(busy));
export const isBusy = (button) => button.getAttribute("aria-disabled") === "true";

/// If the focused element was removed or hidden, focuses this one.
export const focusIfLost = (element) => {
  const held = document.activeElement;
  if (!held || held === document.body || !held.checkVisibility()) element.focus({ preventScroll: true });
};

export const size = (bytes) => {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  for (; bytes >= 999.5 && unit < units.length - 1; unit++) bytes /= 1000;
  return `${bytes < 10 && unit ? bytes.toFixed(1) : Math.round(bytes)} ${units[unit]}`;
};

const clock = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "short" });
export const date = (text) => (text ? clock.format(new Date(text)) : "");
