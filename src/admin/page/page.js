// The page works without this script. It fetches the page's own address again every two seconds and changes what differs,
// so that focus, selection, scroll position and open details stay.
"use strict";
(() => {
  const EVERY = 2000; // between answers
  const SLOWER = 10000; // while there are none
  const PATIENCE = 8000; // for an answer
  const LATE = 5000; // since the last answer: then the page is stale
  const UNITS = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];

  const root = document.documentElement;
  const byId = (id) => document.getElementById(id);
  const updated = byId("updated");
  const version = document.currentScript.getAttribute("src");

  let tag = ""; // of the page that is shown
  let hasHeld = false; // some of it was held back, so that it is not the page of the tag
  let ahead = 0; // of this machine's clock: how far the gateway's is
  let goodAt = Date.now(); // when the last answer came
  let failure = ""; // why the last one did not
  let failures = 0;
  let isLocked = false; // the key is not the one of this page any more: each question could open the browser's dialog for it
  let isOther = false; // another version of the gateway answers, whose page this script cannot take over
  let isPaused = false;
  let isStale = false;
  let state = byId("state").textContent;
  let timer = 0;
  let asking = null;

  // Times.

  const two = (number) => String(number).padStart(2, "0");
  const utc = (time) => {
    const at = new Date(time);
    return `${two(at.getUTCHours())}:${two(at.getUTCMinutes())}:${two(at.getUTCSeconds())}Z`;
  };

  /** The two largest units, as the gateway writes them. */
  function duration(seconds) {
    let rest = Math.max(0, Math.floor(seconds));
    let first = UNITS.findIndex(([length]) => rest >= length);
    if (first < 0) first = UNITS.length - 1;
    const words = [];
    for (const [length, unit] of UNITS.slice(first, first + 2)) {
      const number = Math.floor(rest / length);
      rest %= length;
      if (number > 0 || words.length === 0) words.push(`${number} ${unit}`);
    }
    return words.join(" ");
  }

  function ago(seconds) {
    if (seconds < 1) return "now";
    return `${duration(seconds >= 60 && seconds < 3600 ? Math.floor(seconds / 60) * 60 : seconds)} ago`;
  }

  /** Whether a person has selected some of it, which a new text would undo. */
  function isSelected(node) {
    const selection = getSelection();
    return selection !== null && !selection.isCollapsed && selection.containsNode(node, true);
  }

  function write(element, text) {
    if (element.textContent !== text && !isSelected(element)) element.textContent = text;
  }

  function tick() {
    const now = Math.floor((Date.now() + ahead) / 1000);
    for (const time of document.querySelectorAll("time[data-relative], time[data-countdown]")) {
      const at = Math.floor(Date.parse(time.dateTime) / 1000);
      if (Number.isNaN(at)) continue;
      write(time, "countdown" in time.dataset ? duration(at - now) : ago(now - at));
    }
    mark();
  }

  // What is said about the page itself.

  function say(words) {
    byId("announcer").textContent = words;
  }

  /** Says whether the page is up to date, and since when it is not. */
  function mark() {
    const at = utc(goodAt + ahead);
    const fails = !isPaused && !document.hidden && failures > 0;
    const late = fails && (isLocked || Date.now() - goodAt > LATE);
    let words = `Live, updated ${at}`;
    if (isPaused) words = `Paused at ${at}`;
    if (late) words = `Stale since ${at}: ${failure}`;
    write(updated, words);
    updated.className = late ? "bad" : isPaused ? "warn" : "good";
    byId("anew").hidden = !(late && (isLocked || isOther));
    root.classList.toggle("stale", late);
    if (late !== isStale) {
      isStale = late;
      say(late ? `The page is stale since ${at}: ${failure}` : "The page is up to date again.");
    }
  }

  // The morph: makes an element like another one, and keeps what is the same.

  /** Rows that new ones would move away from under the pointer or the focus. */
  const isHeld = (element) =>
    "hold" in element.dataset && (element.matches(":hover") || element.contains(document.activeElement));

  function morph(old, next) {
    if ("keep" in old.dataset) return;
    if ("busy" in old.dataset || isHeld(old)) {
      hasHeld = true;
      return;
    }
    for (const { name, value } of next.attributes) {
      // Whether details are open is for the person to say.
      if (name !== "open" && old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
    for (const { name } of [...old.attributes]) {
      if (name !== "open" && !next.hasAttribute(name)) old.removeAttribute(name);
    }
    morphChildren(old, next);
  }

  const fits = (old, next) =>
    old.nodeType === next.nodeType && old.nodeName === next.nodeName && (old.id ?? "") === (next.id ?? "");

  function morphChildren(old, next) {
    const wanted = new Set([...next.children].map((child) => child.id).filter((id) => id !== ""));
    const known = new Map();
    for (const child of [...old.children]) {
      if (child.id === "") continue;
      if (wanted.has(child.id)) known.set(child.id, child);
      // Gone: what follows it need not be moved then, and keeps its focus.
      else child.remove();
    }
    let at = old.firstChild;
    for (const wants of [...next.childNodes]) {
      const keyed = wants.id ? known.get(wants.id) : undefined;
      if (keyed !== undefined && keyed !== at) move(old, keyed, at);
      else if (keyed === undefined) {
        while (at !== null && !fits(at, wants) && !(at.id && wanted.has(at.id))) {
          const gone = at;
          at = at.nextSibling;
          gone.remove();
        }
        if (at === null || !fits(at, wants)) {
          old.insertBefore(document.importNode(wants, true), at);
          continue;
        }
      }
      const same = keyed ?? at;
      if (same.nodeType === Node.ELEMENT_NODE) morph(same, wants);
      else if (same.nodeValue !== wants.nodeValue) {
        if (isSelected(same)) hasHeld = true;
        else same.nodeValue = wants.nodeValue;
      }
      at = same.nextSibling;
    }
    while (at !== null) {
      const gone = at;
      at = at.nextSibling;
      gone.remove();
    }
  }

  function move(parent, child, before) {
    if (typeof parent.moveBefore === "function") return parent.moveBefore(child, before);
    const focused = child.contains(document.activeElement) ? document.activeElement : null;
    parent.insertBefore(child, before);
    if (focused !== null) focused.focus({ preventScroll: true });
  }

  /** Whether this tab was not yet loaded anew for this version. Two versions behind one address would do so for ever. */
  function isFirstOf(other) {
    try {
      const met = (sessionStorage.getItem("versions") ?? "").split(" ");
      if (met.includes(other)) return false;
      sessionStorage.setItem("versions", [...met, other].join(" "));
      return true;
    } catch {
      return false; // The browser keeps nothing for pages.
    }
  }

  function show(html) {
    const next = new DOMParser().parseFromString(html, "text/html");
    const other = next.querySelector("head script")?.getAttribute("src") ?? "";
    isOther = other !== version;
    if (isOther) {
      // Its page wants its own style and script.
      if (isFirstOf(other)) location.reload();
      throw new Error("another version of the gateway answers");
    }
    for (const id of ["state", "views", "main"]) {
      const [old, wants] = [byId(id), next.getElementById(id)];
      if (old !== null && wants !== null) morph(old, wants);
    }
    if (document.title !== next.title) document.title = next.title;
    const now = byId("state").textContent;
    if (now !== state) {
      state = now;
      say(`The gateway is ${now}.`);
    }
  }

  // The question, asked again and again. There is never more than one.

  const goesOn = () => !isPaused && !isLocked && !document.hidden;

  function later(pause) {
    clearTimeout(timer);
    if (goesOn()) timer = setTimeout(ask, pause);
  }

  /** `isNew`: what another page was answered a moment ago is not enough. */
  async function ask(isNew = false) {
    clearTimeout(timer);
    if (asking !== null) {
      if (isNew !== true) return;
      asking.abort();
    }
    const own = new AbortController();
    asking = own;
    const deadline = setTimeout(() => own.abort(), PATIENCE);
    const headers = { Accept: "text/html" };
    if (tag !== "") headers["If-None-Match"] = tag;
    if (isNew === true) headers["Cache-Control"] = "no-cache";
    try {
      const answer = await fetch(location.href, { headers, cache: "no-store", signal: own.signal });
      if (answer.status !== 304) {
        const html = await answer.text();
        if (own !== asking) return;
        if (answer.status === 401) {
          isLocked = true;
          throw new Error("the gateway asks for its key");
        }
        if (!html.includes('id="main"')) throw new Error(`the gateway answered ${answer.status}`);
        hasHeld = false;
        show(html);
        tag = hasHeld ? "" : answer.headers.get("ETag") ?? "";
      }
      const date = Date.parse(answer.headers.get("Date") ?? "");
      goodAt = Date.now();
      // The field has whole seconds.
      if (!Number.isNaN(date) && Math.abs(date - goodAt - ahead) > 1500) ahead = date - goodAt;
      failures = 0;
      isLocked = false;
      isOther = false;
    } catch (error) {
      if (own !== asking) return;
      failures += 1;
      failure = error.name === "AbortError" ? "no answer in 8 s"
        : error instanceof TypeError ? "the gateway cannot be reached" : error.message;
    } finally {
      clearTimeout(deadline);
    }
    if (own !== asking) return;
    asking = null;
    tick();
    later(failures === 0 ? EVERY : Math.min(SLOWER, EVERY * failures));
  }

  function pause() {
    isPaused = !isPaused;
    const button = byId("pause");
    button.setAttribute("aria-pressed", String(isPaused));
    button.textContent = isPaused ? "Go on" : "Pause";
    if (isPaused) {
      clearTimeout(timer);
      // An answer under way would still change the page.
      asking?.abort();
      asking = null;
      mark();
    } else ask();
  }

  // Buttons that do something at the gateway: forms with `data-post`.

  /** The words of an answer: the outcome of a reload or a renewal, or an error. */
  function outcome(status, answer) {
    if (answer?.result === "ok") {
      const notes = answer.notes ?? [];
      return [true, ["Done.", ...notes.map((note) => `Note: ${note}`)].join(" ")];
    }
    if (answer?.result === "refused") {
      const problems = answer.problems ?? [];
      const count = problems.length === 1 ? "1 problem" : `${problems.length} problems`;
      return [false, `Refused: ${count}. The configuration stays as it was. ${problems[0] ?? ""}`];
    }
    return [false, answer?.message ?? `The gateway answered ${status}.`];
  }

  async function post(form) {
    if ("busy" in form.dataset) return;
    const [button, said] = [form.querySelector("button"), form.querySelector("[role=status]")];
    form.dataset.busy = "";
    button.setAttribute("aria-disabled", "true");
    said.className = "";
    said.textContent = `${form.dataset.doing ?? "Working"} …`;
    let [isGood, words] = [false, ""];
    try {
      const answer = await fetch(form.action, { method: "POST", headers: { Accept: "application/json" } });
      [isGood, words] = outcome(answer.status, await answer.json().catch(() => null));
    } catch {
      words = "The gateway cannot be reached, so the outcome is not known.";
    }
    said.className = isGood ? "good" : "bad";
    said.textContent = words;
    button.removeAttribute("aria-disabled");
    delete form.dataset.busy;
    ask(true);
  }

  async function copy(button) {
    const text = button.dataset.copy;
    let isCopied = true;
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      // Only https and this machine's own names have a clipboard.
      const field = document.createElement("textarea");
      field.value = text;
      document.body.append(field);
      field.select();
      isCopied = document.execCommand("copy");
      field.remove();
      button.focus();
    }
    say(isCopied ? "Copied." : "The browser did not allow to copy.");
    button.classList.toggle("copied", isCopied);
    setTimeout(() => button.classList.remove("copied"), 1500);
  }

  // Numbers of charts, for the pointer. The keyboard has the tables. A `<title>`, which a browser shows by itself after a
  // while and without a script, becomes the text of the tooltip.

  function tip(event) {
    const shape = event.target.closest?.("[data-tip], .hits > *, .sparkline, .month-curve");
    const title = shape?.querySelector(":scope > title");
    if (title) {
      shape.dataset.tip = title.textContent;
      title.remove();
    }
    const box = byId("tip");
    box.hidden = shape === null || shape === undefined;
    if (box.hidden) return;
    box.textContent = shape.dataset.tip;
    const left = Math.min(event.clientX + 12, innerWidth - box.offsetWidth - 8);
    const below = event.clientY + 16;
    const top = below + box.offsetHeight > innerHeight ? event.clientY - box.offsetHeight - 8 : below;
    box.style.left = `${Math.max(8, left)}px`;
    box.style.top = `${Math.max(8, top)}px`;
  }

  // Keys.

  function key(event) {
    const isTyping = event.target.closest?.("input, textarea, select, dialog") !== null;
    if (isTyping || event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    const views = document.querySelectorAll("#views a");
    if (event.key === "r") ask(true);
    else if (event.key === "p") pause();
    else if (event.key === "?") byId("keys").showModal();
    else if (/^[1-9]$/.test(event.key) && views[event.key - 1]) views[event.key - 1].click();
    else return;
    event.preventDefault();
  }

  document.addEventListener("keydown", key);
  document.addEventListener("pointermove", tip, { passive: true });
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button === null) return;
    if (button.id === "refresh") ask(true);
    else if (button.id === "pause") pause();
    else if (button.id === "help") byId("keys").showModal();
    else if (button.dataset.copy !== undefined) copy(button);
  });
  document.addEventListener("submit", (event) => {
    if (!("post" in event.target.dataset)) return;
    event.preventDefault();
    post(event.target);
  });
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) clearTimeout(timer);
    else if (goesOn()) ask();
  });
  addEventListener("pageshow", (event) => {
    if (event.persisted && goesOn()) ask();
  });

  /** How far the gateway's clock is ahead of this machine's, by the time at which the page was rendered. */
  function clockOfPage() {
    const made = updated.querySelector("time[data-made]")?.textContent.match(/^(\d\d):(\d\d):(\d\d)Z$/);
    if (!made) return 0;
    const day = 86400000;
    const received = performance.timeOrigin + (performance.getEntriesByType("navigation")[0]?.responseStart ?? 0);
    const differs = (made[1] * 3600 + made[2] * 60 + Number(made[3])) * 1000 - (received % day);
    const nearest = differs - Math.round(differs / day) * day;
    return Math.abs(nearest) > 1500 ? nearest : 0;
  }

  ahead = clockOfPage();
  root.classList.add("script");
  setInterval(tick, 1000);
  later(EVERY);
})();
