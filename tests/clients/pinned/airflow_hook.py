"""The hook of Airflow's Box provider as its documentation has it; client id and secret may be any text."""

import importlib.metadata
import json
import os
import tempfile
from pathlib import Path

folder = Path(tempfile.mkdtemp())
os.environ["AIRFLOW_HOME"] = str(folder)
credentials = {"client_id": "any", "client_secret": "any", "enterprise_id": "any"}
os.environ["AIRFLOW_CONN_BOX_DEFAULT"] = json.dumps({"conn_type": "box", "extra": credentials})

from airflow.providers.box.hooks.box import BoxHook  # noqa: E402: reads the variables

TEXT = "Text that goes up and comes down."

hook = BoxHook()
assert hook.test_connection()[0]
(folder / "up.txt").write_text(TEXT)
assert hook.upload_file(str(folder / "up.txt"), "/from airflow/text.txt").new
assert [file.name for file in hook.get_files_by_pattern("/from airflow", "*.txt")] == ["text.txt"]
hook.download_file("/from airflow/text.txt", str(folder / "down.txt"))
assert (folder / "down.txt").read_text() == TEXT
hook.delete_file("/from airflow/text.txt")
print(importlib.metadata.version("apache-airflow-providers-box"))
