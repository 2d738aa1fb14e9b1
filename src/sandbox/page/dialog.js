// The dialog that asks for a name or a confirmation.

import { $, isBusy, setBusy } from "./dom.js";
import { words } from "./gateway.js";

const dialog = $("ask");
const input = $("ask-input");
const error = $("ask-error");
const yes = $("ask-yes");

/// Runs `act`, with the name and a signal that aborts when the dialog is closed, while the dialog is open. If it fails,
/// the dialog shows the error and stays open with the name. Returns the result of `act`, or null if cancelled.
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
        // The dialog was closed meanwhile.
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
