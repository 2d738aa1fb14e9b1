"""Reads YAML documents of Kubernetes on standard input, as `kubectl kustomize` writes them.

Arguments: the versions of Kubernetes to check them against, such as 1.29. Writes one JSON object on standard output:
`documents`, as they were read, and `problems`, a text for each violation of a schema. The schemas are the strict ones: a field
that they do not have is a problem. Documents of other API groups than Kubernetes' own have no schema here and are listed in
`foreign`, by their index. `data` of a Secret is decoded into `stringData`.
"""

import base64
import json
import sys

import kubernetes_validate
import yaml

# Groups with a dot that are Kubernetes' own end with this; those without a dot all are.
OWN = ".k8s.io"


def is_foreign(document):
    group, _, version = document["apiVersion"].rpartition("/")
    return "." in group and not group.endswith(OWN)


def problems(index, document, versions):
    name = "{} {}".format(document["kind"], document["metadata"]["name"])
    for version in versions:
        try:
            checked = kubernetes_validate.validate(document, version, strict=True)
            # The package falls back to an older version where it does not have the one asked for.
            if checked != version:
                yield f"{name}: no schemas of {version}, only of {checked}"
        except kubernetes_validate.ValidationError as error:
            path = ".".join(map(str, error.path))
            yield f"{name}: {version}: {path}: {error.message}"
        except kubernetes_validate.SchemaNotFoundError as error:
            yield f"{name}: {error.message}"


def main(versions):
    documents = [document for document in yaml.safe_load_all(sys.stdin) if document]
    foreign = [index for index, document in enumerate(documents) if is_foreign(document)]
    found = [
        problem
        for index, document in enumerate(documents)
        if index not in foreign
        for problem in problems(index, document, versions)
    ]
    for document in documents:
        if document["kind"] == "Secret":
            data = document.get("data", {}).items()
            document["stringData"] = {name: base64.b64decode(value).decode() for name, value in data}
    json.dump({"documents": documents, "problems": found, "foreign": foreign}, sys.stdout)


main(sys.argv[1:])
