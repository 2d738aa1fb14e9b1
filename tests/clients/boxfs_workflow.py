"""boxfs as its documentation has it, through a tunnel; client id, secret and token may be any text.

One JSON line for each step.
"""

import json
import random

from boxfs import BoxFileSystem
from boxsdk import OAuth2

from workflow import check, equal, unique

# More than boxfs keeps in one block.
LARGE = random.Random(7).randbytes(12 * 1024 * 1024)
FOLDER = "/" + unique("boxfs")
NOTES = f"{FOLDER}/notes.txt"


def went_well(step):
    print(json.dumps({"step": step, "ok": True}))


box = BoxFileSystem(oauth=OAuth2(client_id="any", client_secret="any", access_token="any"))
check(FOLDER not in box.ls("/", detail=False), "it is there already")
went_well("list")
box.mkdir(FOLDER)
with box.open(NOTES, "wb") as file:
    file.write(b"first")
equal(box.ls(FOLDER, detail=False, refresh=True), [NOTES])
went_well("write")
equal(box.cat(NOTES), b"first")
with box.open(f"{FOLDER}/large", "wb") as file:
    file.write(LARGE)
box.ls(FOLDER, refresh=True)
check(box.cat(f"{FOLDER}/large") == LARGE, "what was read differs from what was written")
went_well("read back")
box.rm_file(NOTES)
equal(box.ls(FOLDER, detail=False, refresh=True), [f"{FOLDER}/large"])
went_well("remove")
