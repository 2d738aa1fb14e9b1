// A page with Box's UI Elements, and the actions of a user on them.

globalThis.load = (name) => {
  const element = (tag, fields) =>
    new Promise((resolve, reject) => {
      const made = Object.assign(document.createElement(tag), fields, { onload: resolve, onerror: reject });
      document.head.append(made);
    });
  document.body.innerHTML = "<div id=box style='height: 760px'></div>";
  return Promise.all([
    element("link", { rel: "stylesheet", href: `/elements/${name}.css` }),
    element("script", { src: `/elements/${name}.js` }),
  ]);
};

// Where an item's name is shown, for clicks.
globalThis.item = (name) =>
  [...document.querySelectorAll("#box [role=row] *")].find((shown) => !shown.children.length && shown.textContent === name);

globalThis.named = (label, within = document) => within.querySelector(`[aria-label="${label}"]`);

// Menus open on mousedown.
globalThis.open = (button) =>
  button.dispatchEvent(new PointerEvent("pointerdown", { bubbles: true, button: 0, pointerType: "mouse" }));

globalThis.choice = (text, selector = "[role=menuitem]") =>
  [...document.querySelectorAll(selector)].find((choice) => choice.textContent === text);

// As if typed: React does not notice a value that is set directly.
globalThis.type = (input, text) => {
  Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, "value").set.call(input, text);
  input.dispatchEvent(new Event("input", { bubbles: true }));
};

// A file that is too large for a literal in this script.
globalThis.file = (name, mebibytes) => {
  const piece = Uint8Array.from({ length: 1 << 20 }, (_, at) => at % 251);
  return new File(Array(mebibytes).fill(piece), name);
};

globalThis.choose = (files) => {
  const chosen = new DataTransfer();
  files.forEach((file) => chosen.items.add(file));
  const input = document.querySelector("#box input[type=file]");
  input.files = chosen.files;
  input.dispatchEvent(new Event("change", { bubbles: true }));
};
0;
