"""What bench/compare and bench/delay share: an nginx that stands for Box, boxgate's configuration in front of it, how they
are started, and what the system says of a process."""

import contextlib
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

TOKEN = "a-token-of-this-benchmark"
PATIENCE = 30
KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30

# Gives out tokens, refuses requests without one, and reads the body of an upload whole before it answers. Whatever follows
# /2.0/answers/SIZE/ in a path, the answer is the file of this name. Box-Request-Id tells how the request came.
BOX = """
daemon off; master_process off; error_log stderr crit; pid box.pid;
events {{ worker_connections 1024; }}
http {{
    access_log off; keepalive_requests 1000000000; keepalive_timeout 300s; sendfile on;
    client_max_body_size 0; client_body_buffer_size 16m; http2_body_preread_size 1m;
    client_body_temp_path box-body; proxy_temp_path box-proxy;
    map $http_authorization $is_unknown {{ default 1; "Bearer {token}" 0; }}
    map $uri $is_refused {{ default $is_unknown; /oauth2/token 0; }}
    server {{
        listen 127.0.0.1:{box} ssl http2; server_name localhost; root {folder};
        ssl_certificate box.pem; ssl_certificate_key box.key; ssl_protocols TLSv1.3;
        default_type application/json; add_header Box-Request-Id $server_protocol;
        if ($is_refused) {{ return 401; }}
        location = /oauth2/token {{ return 200 '{{"access_token":"{token}","expires_in":3600,"token_type":"bearer"}}'; }}
        location = /2.0/users/me {{ return 200 '{{"type":"user","id":"11446498","name":"{name}"}}'; }}
        location ~ ^/2.0/answers/(\\w+)/ {{ try_files /answers/$1 =404; }}
        location ~ ^(/2.0/uploads|/api/2.0/files/content)$ {{
            proxy_pass http://unix:{folder}/read; proxy_pass_request_body off; proxy_set_header Content-Length "";
        }}
    }}
    server {{
        listen unix:{folder}/read;
        location / {{ return 201 '{{"total_count":1,"entries":[{{"type":"file","id":"12345"}}]}}'; }}
    }}
}}
"""

BOXGATE = """
[listen]
address = "127.0.0.1:{port}"
workers = 1
[admin]
address = "127.0.0.1:{admin}"
[box]
api = "https://localhost:{box}"
upload = "https://localhost:{box}"
download = "https://localhost:{box}"
token_url = "https://localhost:{tokens}/oauth2/token"
ca_file = "box.pem"
[identity.service]
client_id = "id"
client_secret = "secret"
enterprise_id = "1"
[upstream]
proxy = "none"
http2 = {http2}
[state]
dir = "state"
[limits]
box_defaults = false
[[limit]]
name = "callers"
key = "client"
rate = "1000000/s"
[log]
access = {access}
"""


def need(*programs):
    missing = [name for name in programs if not shutil.which(name)]
    if missing:
        sys.exit(f"missing: {', '.join(missing)}; install {', '.join(programs)} (nginx: nginx-light)")


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@contextlib.contextmanager
def started(command, folder, port):
    """Runs a program until the end of the block; it listens on the port when the block begins."""
    with open(folder / "log", "a+", encoding="utf-8") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=log)
        try:
            for _ in range(PATIENCE * 20):
                if process.poll() is not None:
                    log.seek(0)
                    sys.exit(f"{command[0]} has ended:\n{log.read()}")
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
                time.sleep(0.05)
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(PATIENCE)


@contextlib.contextmanager
def box(folder):
    """An nginx that stands for Box, with its certificate in box.pem. The value is its port."""
    port = free_port()
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
        + ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=CA:FALSE"]
        + ["-keyout", "box.key", "-out", "box.pem"],
        cwd=folder, check=True, capture_output=True,
    )
    text = BOX.format(box=port, folder=folder, token=TOKEN, name="x" * 300)
    (folder / "box.conf").write_text(text, encoding="utf-8")
    with started(["nginx", "-p", str(folder), "-c", str(folder / "box.conf")], folder, port):
        yield port


def wait_for_answer(url):
    for _ in range(PATIENCE * 20):
        with contextlib.suppress(urllib.error.URLError):
            with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
                answer.read()
                return
        time.sleep(0.05)
    sys.exit(f"{url} is not answered with 200")


def processes(parent):
    """The process and its children, such as nginx's workers."""
    children = pathlib.Path(f"/proc/{parent}/task/{parent}/children").read_text(encoding="ascii")
    return [parent, *map(int, children.split())]


def cpu(parent):
    """Seconds of CPU time so far."""
    ticks = 0
    for process in processes(parent):
        fields = pathlib.Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def memory(parent):
    """MiB that are resident now, shared pages of the program's file among them."""
    kib = 0
    for process in processes(parent):
        kib += int(re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{process}/status").read_text())[1])
    return kib / 1024
