// Attempts of a page that is not listed. Each returns the text that it could read of a response, or null. It may give
// up waiting: the test learns from the gateway's counters when a request was handled.
//
// `gate`: the gateway; `site`: the page's own server, which can redirect; `file`: the id of a stored file.

globalThis.attempts = (() => {
  const me = "/2.0/users/me";
  const json = JSON.stringify({ name: "taken", parent: { id: "0" } });
  const text = (answer) => (answer.type === "opaque" || answer.type === "opaqueredirect" ? null : answer.text());
  const read = (...request) => fetch(...request).then(text, () => null);

  const upload = () => {
    const form = new FormData();
    form.append("attributes", json);
    form.append("file", new Blob(["taken"]), "taken");
    return form;
  };

  const add = (name, attributes, children = []) => {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children);
    return element;
  };

  // An element of the page; resolves on its load or error event.
  const put = (name, attributes, children) => {
    const element = add(name, attributes, children);
    const done = new Promise((resolve) => {
      for (const event of ["load", "error", "loadeddata"]) element.addEventListener(event, () => resolve(element));
    });
    document.body.append(element);
    return done;
  };

  const inside = (frame) => {
    try {
      return frame.contentDocument?.body?.innerText || null;
    } catch {
      return null;
    }
  };

  const form = (action, method, enctype, target, fields) => {
    const inputs = Object.entries(fields).map(([name, value]) => add("input", { name, value, type: "hidden" }));
    const made = add("form", { action, method, enctype, target }, inputs);
    document.body.append(made);
    made.submit();
  };

  const formInFrame = async (...of) => {
    const frame = add("iframe", { name: "into" });
    document.body.append(frame);
    const loaded = new Promise((resolve) => frame.addEventListener("load", resolve));
    form(...of);
    await loaded;
    return inside(frame);
  };

  const xhr = (method, url, prepare) =>
    new Promise((resolve) => {
      const request = new XMLHttpRequest();
      request.open(method, url);
      request.onload = () => resolve(request.responseText);
      request.onerror = () => resolve(null);
      prepare(request);
    });

  const worker = (script) =>
    new Promise((resolve) => {
      const worker = new Worker(URL.createObjectURL(new Blob([script])));
      worker.onmessage = ({ data }) => resolve(data);
      worker.onerror = () => resolve(null);
    });

  const click = (attributes) => {
    const link = add("a", attributes, ["go"]);
    document.body.append(link);
    link.click();
    return null;
  };

  return {
    "fetch": ({ gate }) => read(gate + me),
    "fetch without a referrer": ({ gate }) => read(gate + me, { referrerPolicy: "no-referrer" }),
    "fetch with credentials": ({ gate }) => read(gate + me, { credentials: "include" }),
    "fetch from any cache": ({ gate }) => read(gate + me, { cache: "force-cache" }),
    "fetch with a preflight": ({ gate, file }) =>
      read(`${gate}/2.0/files/${file}`, {
        method: "PUT",
        headers: { "Content-Type": "application/json", "X-Rep-Hints": "[jpg?dimensions=32x32]" },
        body: json,
      }),
    "fetch of a deletion": ({ gate, file }) => read(`${gate}/2.0/files/${file}`, { method: "DELETE" }),
    "fetch of HEAD": ({ gate }) => read(gate + me, { method: "HEAD" }),
    "fetch with keepalive": ({ gate }) => read(gate + me, { keepalive: true }),
    "fetch of a download": ({ gate, file }) => read(`${gate}/2.0/files/${file}/content`),
    "no-cors GET": ({ gate }) => read(gate + me, { mode: "no-cors" }),
    "no-cors GET without a referrer": ({ gate }) =>
      read(gate + me, { mode: "no-cors", referrerPolicy: "no-referrer" }),
    "no-cors GET from any cache": ({ gate }) => read(gate + me, { mode: "no-cors", cache: "force-cache" }),
    "no-cors GET with a token in the query": ({ gate, file }) =>
      read(`${gate}/2.0/files/${file}/content?access_token=x`, { mode: "no-cors" }),
    "no-cors HEAD": ({ gate }) => read(gate + me, { mode: "no-cors", method: "HEAD" }),
    "no-cors POST of text": ({ gate }) =>
      read(gate + "/2.0/folders", { mode: "no-cors", method: "POST", body: json }),
    "no-cors POST of text without a referrer": ({ gate }) =>
      read(gate + "/2.0/folders", { mode: "no-cors", method: "POST", body: json, referrerPolicy: "no-referrer" }),
    "no-cors upload": ({ gate }) =>
      read(gate + "/2.0/files/content", { mode: "no-cors", method: "POST", body: upload() }),
    "XMLHttpRequest": ({ gate }) => xhr("GET", gate + me, (request) => request.send()),
    "XMLHttpRequest upload with progress": ({ gate }) =>
      xhr("POST", gate + "/2.0/files/content", (request) => {
        request.upload.onprogress = () => {};
        request.send(upload());
      }),
    "sendBeacon of text": ({ gate }) => navigator.sendBeacon(gate + "/2.0/folders", json) && null,
    "sendBeacon of a form": ({ gate }) => navigator.sendBeacon(gate + "/2.0/files/content", upload()) && null,
    "form GET into a frame": ({ gate }) =>
      formInFrame(gate + me, "get", "application/x-www-form-urlencoded", "into", { fields: "login" }),
    "form POST of text into a frame": ({ gate }) =>
      formInFrame(gate + "/2.0/folders", "post", "text/plain", "into", { '{"name":"taken","parent":{"id":"0"},"x': '"}' }),
    "form POST into a frame": ({ gate }) =>
      formInFrame(gate + "/2.0/folders", "post", "application/x-www-form-urlencoded", "into", { name: "taken" }),
    "form upload into a frame": ({ gate }) =>
      formInFrame(gate + "/2.0/files/content", "post", "multipart/form-data", "into", { attributes: json, file: "taken" }),
    "form GET": ({ gate }) => form(gate + me, "get", "application/x-www-form-urlencoded", "_self", {}),
    "form POST": ({ gate }) => form(gate + "/2.0/folders", "post", "text/plain", "_self", { "{": "}" }),
    "navigation": ({ gate }) => void (location.href = gate + me),
    "navigation in place": ({ gate }) => location.replace(gate + me),
    "link": ({ gate }) => click({ href: gate + me }),
    "link without a referrer": ({ gate }) => click({ href: gate + me, rel: "noreferrer noopener" }),
    "link into another tab": ({ gate }) => click({ href: gate + me, target: "_blank" }),
    "link to a download": ({ gate, file }) => click({ href: `${gate}/2.0/files/${file}/content`, download: "" }),
    "ping of a link": ({ gate }) => click({ href: "#here", ping: gate + "/2.0/folders" }),
    "window.open": ({ gate }) => void window.open(gate + me),
    "img": ({ gate, file }) => put("img", { src: `${gate}/2.0/files/${file}/thumbnail.png?access_token=x` }).then(() => null),
    "img without a referrer": ({ gate, file }) =>
      put("img", { src: `${gate}/2.0/files/${file}/content`, referrerpolicy: "no-referrer" }).then(() => null),
    "img with CORS": ({ gate }) => put("img", { src: gate + me, crossorigin: "anonymous" }).then(() => null),
    "script": ({ gate }) => put("script", { src: gate + me }).then(() => null),
    "script module": ({ gate }) => import(gate + me).then(() => "ran", () => null),
    "image of a style": ({ gate, file }) =>
      void put("p", { style: `background: url(${gate}/2.0/files/${file}/content)` }, ["text"]),
    "style sheet": ({ gate }) =>
      put("link", { rel: "stylesheet", href: gate + me }).then((link) => {
        try {
          return link.sheet?.cssRules.length ? "rules" : null;
        } catch {
          return null;
        }
      }),
    "prefetch": ({ gate }) => void put("link", { rel: "prefetch", href: gate + me }),
    "preload": ({ gate }) => void put("link", { rel: "preload", as: "fetch", href: gate + me }),
    "audio": ({ gate, file }) =>
      void new Audio(`${gate}/2.0/files/${file}/content`).play().catch(() => null),
    "poster": ({ gate, file }) => void put("video", { poster: `${gate}/2.0/files/${file}/content` }),
    "object": ({ gate }) => put("object", { data: gate + me }).then(() => null),
    "embed": ({ gate }) => void put("embed", { src: gate + me }),
    "iframe": ({ gate }) => put("iframe", { src: gate + me }).then(inside),
    "iframe without a referrer": ({ gate }) =>
      put("iframe", { src: gate + me, referrerpolicy: "no-referrer" }).then(inside),
    "refresh in a frame": ({ gate }) =>
      void put("iframe", { srcdoc: `<meta http-equiv=refresh content="0;url=${gate + me}">` }),
    "fetch of a frame with the origin null": ({ gate }) =>
      new Promise((resolve) => {
        addEventListener("message", ({ data }) => resolve(data));
        const script = `fetch("${gate + me}").then((a) => a.text()).catch(() => null).then((t) => parent.postMessage(t, "*"))`;
        put("iframe", { sandbox: "allow-scripts", srcdoc: `<script>${script}</script>` });
      }),
    "fetch of a worker": ({ gate }) =>
      worker(`fetch("${gate + me}").then((a) => a.text()).catch(() => null).then((t) => postMessage(t))`),
    "script of a worker": ({ gate }) => worker(`importScripts("${gate + me}"); postMessage("ran")`),
    "EventSource": ({ gate }) =>
      new Promise((resolve) => {
        const source = new EventSource(gate + "/2.0/events?stream_position=now");
        source.onmessage = ({ data }) => resolve(data);
        source.onerror = () => resolve(source.close() ?? null);
      }),
    "WebSocket": ({ gate }) =>
      new Promise((resolve) => {
        const socket = new WebSocket(gate.replace(/^http/, "ws") + me);
        socket.onopen = () => resolve("open");
        socket.onerror = () => resolve(null);
      }),
    "report of a violation": ({ gate, site }) => void put("iframe", { src: `${site}/report?${gate}/2.0/folders` }),
    "fetch redirected": ({ gate, site }) => read(`${site}/302?${gate + me}`),
    "no-cors POST redirected": ({ gate, site }) =>
      read(`${site}/307?${gate}/2.0/folders`, { mode: "no-cors", method: "POST", body: json }),
    "form POST redirected": ({ gate, site }) =>
      formInFrame(`${site}/307?${gate}/2.0/folders`, "post", "text/plain", "into", { "{": "}" }),
    "img redirected without a referrer": ({ gate, site }) =>
      put("img", { src: `${site}/302?${gate + me}`, referrerpolicy: "no-referrer" }).then(() => null),
    "navigation redirected": ({ gate, site }) => void (location.href = `${site}/302?${gate + me}`),
  };
})();
0;
