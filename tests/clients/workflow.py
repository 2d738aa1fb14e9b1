"""Runs the steps of a workflow through a gateway; what both generations of the Python SDK share.

    PYTHON STEPS.py BASE_URL [--only a,b]

One JSON line for each step; the first that fails ends the run with 1.
"""

import argparse
import base64
import json
import random
import sys
import time
import traceback
import urllib.request

# Too big for one request where the SDKs have a choice, and three parts of Box's usual 8 MiB.
BIG = 24 * 1024 * 1024
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
# A user of the sandbox.
MANAGED_USER = "11446498"
PAGES = [f"page {number}" for number in range(5)]


def unique(name):
    """Not ASCII, and free although an earlier run may have left something."""
    return f"{name} ä {time.time_ns()}"


def big():
    """The same bytes every time, of which no two parts are alike."""
    return random.Random(7).randbytes(BIG)


def check(holds, *said):
    if not holds:
        raise AssertionError(" ".join(str(each) for each in said))


def equal(have, want):
    check(have == want, repr(have)[:200], "is not", repr(want)[:200])


def is_image(content):
    check(content.startswith((b"\x89PNG", b"\xff\xd8\xff", b"GIF8")), "no image:", content[:20])


def plain_get(base, url):
    """As code around the SDKs does; the URL is one that an answer gave, so it must lead through the gateway."""
    check(url.startswith(base + "/"), url, "does not lead through", base)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=30) as answer:
        return answer.read()


def representation(base, entry):
    """Polls one until it is ready, then gives its content."""
    url = entry["info"]["url"]
    for _ in range(20):
        info = json.loads(plain_get(base, url))
        if info["status"]["state"] == "success":
            template = info["content"]["url_template"]
            check("{+asset_path}" in template, template)
            return plain_get(base, template.replace("{+asset_path}", ""))
        time.sleep(0.2)
    raise AssertionError(f"not ready: {info}")


def run(steps, workflow):
    """`steps`: functions that take what `workflow(base)` makes, in the order of a run."""
    parser = argparse.ArgumentParser()
    parser.add_argument("base")
    parser.add_argument("--only", help="steps, with commas between")
    given = parser.parse_args()
    known = {step.__name__: step for step in steps}
    wanted = given.only.split(",") if given.only else list(known)
    if strange := set(wanted) - set(known):
        parser.error(f"unknown: {', '.join(sorted(strange))}; there are {', '.join(known)}")
    common = workflow(given.base.rstrip("/"))
    for name, step in known.items():
        if name not in wanted:
            continue
        began = time.monotonic()
        line = {"step": name, "ok": True}
        try:
            step(common)
        except Exception as error:
            line |= {"ok": False, "error": f"{type(error).__name__}: {error}"[:2000]}
            traceback.print_exc()
        line["seconds"] = round(time.monotonic() - began, 2)
        print(json.dumps(line), flush=True)
        if not line["ok"]:
            sys.exit(1)
