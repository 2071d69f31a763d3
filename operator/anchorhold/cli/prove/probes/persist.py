"""Tries to outlive its run: leaves a marker wherever it can, or finds one."""

import ctypes
import http.client
import socket
import ssl
import time

LIBC = ctypes.CDLL(None, use_errno=True)
SKIP = ("proc", "sys")
# What others run, or let in: at a time, at a login, at the start of a program or of the machine.
RUN_LATER = (
    "/etc/cron.d/", "/var/spool/cron/crontabs/", "/etc/profile.d/", "/etc/systemd/system/",
    "/etc/rc.local", "/etc/ld.so.preload", "~/.profile", "~/.bashrc", "~/.config/autostart/",
    "~/.ssh/authorized_keys", "~/.local/bin/", "/etc/kubernetes/manifests/",
)  # fmt: skip
ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount/"
KINDS = (
    ("/api/v1/namespaces/%s/configmaps", "v1", "ConfigMap", {}),
    ("/api/v1/namespaces/%s/serviceaccounts", "v1", "ServiceAccount", {}),
    ("/api/v1/namespaces/%s/pods", "v1", "Pod", {"spec": {"containers": []}}),
    ("/apis/anchorhold.dev/v1alpha1/namespaces/%s/agentruns", "anchorhold.dev/v1alpha1", "AgentRun",
     {"spec": {}}),
    ("/apis/batch/v1/namespaces/%s/cronjobs", "batch/v1", "CronJob", {"spec": {}}),
)  # fmt: skip


def probe(settings):
    """Where the marker is now; with `leave`, after it was left everywhere; with `stay`, never."""
    marker = settings["marker"]
    left = leave(marker) if settings["leave"] else 0
    found = {"left": left, "found": find(marker)[:20]}
    if settings.get("stay"):
        print("found", len(found["found"]), flush=True)
        stay(settings["namespace"], marker)
    return found


def leave(marker):
    """The number of places that took it."""
    places = sum(later(path, marker) for path in RUN_LATER)
    for folder, folders, _ in os.walk("/"):
        if folder == "/":
            folders[:] = [name for name in folders if name not in SKIP]
        places += put(os.path.join(folder, marker), marker)
    server = socket.socket(socket.AF_UNIX)
    server.bind("\0" + marker)
    KEPT.append(server)
    LIBC.shmget(int(marker[:7], 16), 4096, 0o1600)
    return places + 1


def put(path, words):
    """Whether a file took it."""
    try:
        with open(path, "a") as file:
            file.write(words)
    except OSError:
        return False
    return True


def later(path, marker):
    """Among what is run later, whose folder it makes if it can."""
    path = run_later(path, marker)
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
    except OSError:
        return False
    return put(path, "#" + marker + "\n")


def run_later(path, marker):
    """A file of this name, or of the marker's in this folder."""
    path = path.replace("~", os.environ.get("HOME", "/root"))
    return path + marker if path.endswith("/") else path


def holds(path, marker):
    try:
        return marker in open(path).read()
    except OSError:
        return False


def find(marker):
    """Everywhere it is."""
    files = [run_later(path, marker) for path in RUN_LATER]
    found = [path for path in files if holds(path, marker)]
    for folder, folders, files in os.walk("/"):
        if folder == "/":
            folders[:] = [name for name in folders if name not in SKIP]
        found += [os.path.join(folder, name) for name in files if marker in name]
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.bind("\0" + marker)
    except OSError:
        found.append("an abstract socket")
    if LIBC.shmget(int(marker[:7], 16), 4096, 0o600) >= 0:
        found.append("shared memory")
    return found


def stay(namespace, marker):
    """For ever, whatever is signalled, and a daemon that nobody is the parent of."""
    if outlast():
        say("daemon")
    for kind in KINDS:
        order(kind, namespace, marker)
    print("ordered", flush=True)
    say("agent")


def say(word):
    while True:
        print(word, flush=True)
        time.sleep(1)


def order(kind, namespace, marker):
    """An object that outlives it, from the API server, by any token that lies around."""
    path, version, name, more = kind
    document = {"apiVersion": version, "kind": name, "metadata": {"name": marker}, **more}
    headers = {"Content-Type": "application/json"}
    if os.path.exists(ACCOUNT + "token"):
        headers["Authorization"] = "Bearer " + open(ACCOUNT + "token").read()
    address = (os.environ.get("KUBERNETES_SERVICE_HOST", "10.96.0.1"), 443)
    connection = http.client.HTTPSConnection(
        *address, timeout=2, context=ssl._create_unverified_context()
    )
    try:
        connection.request("POST", path % namespace, json.dumps(document), headers)
        connection.getresponse()
    except (OSError, http.client.HTTPException):
        pass


KEPT = []
