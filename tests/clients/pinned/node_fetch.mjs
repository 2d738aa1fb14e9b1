// What Node has built in; it reads HTTPS_PROXY where NODE_USE_ENV_PROXY is set, in these versions and later ones.

import assert from "node:assert/strict";
import { once } from "node:events";
import https from "node:https";

const url = "https://api.box.com/2.0/users/me";
assert.equal((await (await fetch(url)).json()).type, "user");
const [answer] = await once(https.get(url), "response");
assert.equal(answer.statusCode, 200);
answer.resume();
await once(answer, "end");
console.log(process.versions.node);
