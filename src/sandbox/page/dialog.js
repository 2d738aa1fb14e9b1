// The dialog that asks for a name, or for a yes.

import { $, isBusy, setBusy } from "./dom.js";
import { words } from "./gateway.js";

const dialog = $("ask");
const input = $("ask-input");
const error = $("ask-error");
const yes = $("ask-yes");

/// Does what it asks for (`act`, given the name and a signal that says when nobody waits any longer) while it is open.
/// Where that fails it says why, keeps what was written, and stays. Gives what `act` gave, or null on a no.
export const ask = ({ title, text = "", label, wantsName = false, act }) =>
  new Promise((resolve) => {
    const stop = new AbortController();
    let given = null;
    $("ask-title").textContent = title;
    $("ask-text").textContent = text;
    $("ask-text").hidden = !text;
    yes.textContent = label;
    $("ask-label").hidden = !wantsName;
    input.value = "";
    input.required = wantsName;
    input.oninput = mend;
    mend();
    setBusy(yes, false);
    $("ask-form").onsubmit = async (event) => {
      event.preventDefault();
      if (isBusy(yes)) return;
      const name = input.value.trim();
      if (wantsName && !name) return refuse("Write a name", "");
      mend();
      setBusy(yes, true);
      try {
        given = await act(name, stop.signal);
        dialog.close();
      } catch (failure) {
        // Whoever closed the dialog asks no longer.
        if (!stop.signal.aborted) refuse(...words(failure));
      }
      setBusy(yes, false);
    };
    dialog.onclose = () => {
      stop.abort();
      resolve(given);
    };
    dialog.showModal();
    if (wantsName) input.focus();
  });
$("ask-no").onclick = () => dialog.close();

const refuse = (title, text) => {
  error.querySelector("strong").textContent = `${title}.`;
  error.querySelector("span").textContent = text;
  error.hidden = false;
  if (!input.required) return;
  input.setAttribute("aria-invalid", "true");
  input.focus();
};

const mend = () => {
  error.hidden = true;
  input.removeAttribute("aria-invalid");
};
