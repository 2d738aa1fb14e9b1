// Checks objects of the Prometheus operator against its schemas. Argument: the folder of packages. Reads a JSON array on
// standard input; ends with 1 and says what is wrong if one of them is not valid.

import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";

// By its path: NODE_PATH does not hold for modules.
const path = "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/index.js";
const models = await import(pathToFileURL(resolve(process.argv[2], path)));

// The schemas let a field pass that they do not know, so the declarations say which there are.
const declarations = resolve(process.argv[2], path, "..");
const fields = (kind) => {
  const text = readFileSync(`${declarations}/${kind}.d.ts`, "utf8");
  return new Set([...text.matchAll(/^ +"(\w+)"\??:/gm)].map((match) => match[1]));
};
const only = (object, kind) => {
  const unknown = Object.keys(object).filter((field) => !fields(kind).has(field));
  if (unknown.length > 0) throw new Error(`${kind} has no ${unknown}`);
};

for (const object of JSON.parse(readFileSync(0, "utf8"))) {
  if (object.apiVersion !== "monitoring.coreos.com/v1" || !models[object.kind]) {
    throw new Error(`no schema for ${object.apiVersion} ${object.kind}`);
  }
  only(object.spec, "ServiceMonitorSpec");
  object.spec.endpoints.forEach((endpoint) => only(endpoint, "Endpoint"));
  new models[object.kind](object).validate();
}
