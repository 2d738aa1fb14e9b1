// Calls of a page with a listed origin; each returns what it could read. `gate`: the gateway; `file`: the id of a file.

globalThis.attempts = (() => {
  const send = (gate, method, path, body) =>
    fetch(gate + path, {
      method,
      headers: { "Content-Type": "application/json" },
      body: body && JSON.stringify(body),
    });

  return {
    "JSON": ({ gate }) => fetch(gate + "/2.0/users/me").then((answer) => answer.json()),

    "headers that need a preflight": async ({ gate, file }) => {
      const answer = await fetch(`${gate}/2.0/files/${file}?fields=representations`, {
        headers: {
          "Authorization": "Bearer of-the-page",
          "X-Rep-Hints": "[jpg?dimensions=32x32]",
          "X-Box-Client-Name": "a page",
          "X-Request-Id": "of-the-page.1",
        },
      });
      const { id } = await answer.json();
      return { status: answer.status, id, request_id: answer.headers.get("X-Request-Id") };
    },

    "upload with progress": ({ gate }) =>
      new Promise((resolve, reject) => {
        const form = new FormData();
        form.append("attributes", JSON.stringify({ name: "of the page", parent: { id: "0" } }));
        form.append("file", new Blob([new Uint8Array(3_000_000)]), "of the page");
        const request = new XMLHttpRequest();
        request.open("POST", gate + "/api/2.0/files/content");
        let [loaded, total] = [0, 0];
        request.upload.onprogress = (event) => ([loaded, total] = [event.loaded, event.total]);
        request.onload = () => resolve({ status: request.status, loaded, total });
        request.onerror = reject;
        request.send(form);
      }),

    "a folder made, renamed and deleted": async ({ gate }) => {
      const made = await send(gate, "POST", "/2.0/folders", { name: "made", parent: { id: "0" } });
      const { id } = await made.json();
      const renamed = await send(gate, "PUT", `/2.0/folders/${id}`, { name: "renamed" });
      const deleted = await send(gate, "DELETE", `/2.0/folders/${id}`);
      return [made.status, renamed.status, deleted.status];
    },

    "download with progress": async ({ gate, file }) => {
      const answer = await fetch(`${gate}/2.0/files/${file}/content`);
      const reader = answer.body.getReader();
      const pieces = [];
      for (;;) {
        const { done, value } = await reader.read();
        if (done) break;
        pieces.push(value);
      }
      return {
        bytes: new Blob(pieces).size,
        pieces: pieces.length,
        length: answer.headers.get("Content-Length"),
        disposition: answer.headers.get("Content-Disposition"),
        redirected: answer.redirected,
      };
    },

    "range": async ({ gate, file }) => {
      const answer = await fetch(`${gate}/2.0/files/${file}/content`, { headers: { Range: "bytes=10-19" } });
      const { size } = await answer.blob();
      return { status: answer.status, range: answer.headers.get("Content-Range"), bytes: size };
    },

    "HEAD": async ({ gate, file }) => {
      const answer = await fetch(`${gate}/2.0/files/${file}/content`, { method: "HEAD" });
      return { status: answer.status, length: answer.headers.get("Content-Length") };
    },

    "thumbnail": ({ gate, file }) =>
      new Promise((resolve, reject) => {
        const image = new Image();
        image.onload = () => resolve({ width: image.naturalWidth });
        image.onerror = reject;
        image.src = `${gate}/2.0/files/${file}/thumbnail.png?access_token=unused`;
      }),

    "the same twice, from any cache": async ({ gate, file }) => {
      const statuses = [];
      for (let time = 0; time < 2; time++) {
        const answer = await fetch(`${gate}/2.0/files/${file}`, { cache: "force-cache" });
        await answer.text();
        statuses.push(answer.status);
      }
      return statuses;
    },

    "a refusal": async ({ gate }) => {
      const answer = await fetch(gate + "/2.0/users/me", { headers: { "As-User": "1" } });
      const proxy_status = answer.headers.get("Proxy-Status");
      return { status: answer.status, proxy_status, body: await answer.json() };
    },

    "429": async ({ gate }) => {
      const answer = await fetch(gate + "/2.0/folders/0");
      const retry_after = answer.headers.get("Retry-After");
      return { status: answer.status, retry_after, body: await answer.json() };
    },
  };
})();
0;
