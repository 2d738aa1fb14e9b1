// What a page does that has Box's UI Elements in it, and what a person does with them.

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

// Menus open as the button goes down.
globalThis.open = (button) =>
  button.dispatchEvent(new PointerEvent("pointerdown", { bubbles: true, button: 0, pointerType: "mouse" }));

globalThis.choice = (text, selector = "[role=menuitem]") =>
  [...document.querySelectorAll(selector)].find((choice) => choice.textContent === text);

// As typed: React does not hear of what is set behind its back.
globalThis.type = (input, text) => {
  Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, "value").set.call(input, text);
  input.dispatchEvent(new Event("input", { bubbles: true }));
};

// A file of a size that is no text of this script.
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
