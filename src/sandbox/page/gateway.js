// Calls of the gateway, and messages for failed ones.

export const gateway = document.querySelector("meta[name=gateway]").content;

const full = (path) => (path.startsWith("http") ? path : gateway + path);

/// An error response of the gateway or of Box.
export class Failure extends Error {
  constructor(status, body, retryAfter) {
    super(body?.message || `The gateway answered with ${status}.`);
    // For a file Box returns one conflict, for a folder a list.
    const conflict = [body?.context_info?.conflicts].flat()[0];
    Object.assign(this, { status, code: body?.code ?? "", request: body?.request_id ?? "", retryAfter, conflict });
  }
}

const failure = (status, text, retryAfter) => {
  let body;
  try {
    body = JSON.parse(text);
  } catch {
    body = undefined;
  }
  return new Failure(status, body, Number(retryAfter) || undefined);
};

export const call = async (path, options) => {
  const answer = await fetch(full(path), options);
  if (answer.ok) return answer;
  throw failure(answer.status, await answer.text(), answer.headers.get("Retry-After"));
};

/// The options of a call with a JSON body.
export const json = (method, body, headers) => ({
  method,
  headers: { "Content-Type": "application/json", ...headers },
  body: JSON.stringify(body),
});

/// fetch() does not report upload progress; XMLHttpRequest does.
export const send = (method, path, headers, body, signal, progress) =>
  new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open(method, full(path));
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    request.upload.onprogress = ({ loaded }) => progress(loaded);
    request.onerror = () => reject(new TypeError("network"));
    request.onabort = () => reject(signal.reason);
    request.onload = () => {
      if (request.status < 300) return resolve(JSON.parse(request.responseText || "null"));
      reject(failure(request.status, request.responseText, request.getResponseHeader("Retry-After")));
    };
    signal.throwIfAborted();
    signal.addEventListener("abort", () => request.abort(), { once: true });
    request.send(body);
  });

/// A title, and what to do if Box's message does not say it.
const BY_CODE = {
  item_name_in_use: ["The name is taken", ""],
  item_name_invalid: ["This name is not possible", "It must not have / or \\ in it, begin or end with a space, or be . or .. "],
  item_name_too_long: ["This name is too long", "It can have 255 characters. "],
  trashed: ["It is in the trash", ""],
};

const BY_STATUS = {
  403: "Not allowed",
  404: "Not found",
  409: "Something is in the way",
  412: "It has changed meanwhile",
  429: "Too many requests",
  502: "Box did not answer as it should",
  503: "Not available at the moment",
  504: "Box did not answer in time",
};

/// A title and a text.
export const words = (error) => {
  if (!(error instanceof Failure)) {
    return error instanceof TypeError
      ? ["The gateway cannot be reached", "Is the sandbox still running? A page that is not listed sees the same."]
      : ["That did not work", String(error.message || error)];
  }
  const about = error.request ? ` (${error.code}, request ${error.request})` : "";
  const [title, hint] = BY_CODE[error.code] ?? [BY_STATUS[error.status] ?? `Error ${error.status}`, ""];
  return [title, hint + error.message + about];
};
