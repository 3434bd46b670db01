"""As much of a service manager as keeps a socket over an upgrade: service_manager.py PORT PROGRAM ARGUMENT…

Starts the program, keeps what it hands over (FDSTORE=1), stops it, connects to it while it does not run, starts it again
with what was kept (LISTEN_FDS), and prints what the waiting connection is answered.
"""

import array
import os
import signal
import socket
import sys
import tempfile

port, command = int(sys.argv[1]), sys.argv[2:]
folder = tempfile.TemporaryDirectory()
path = os.path.join(folder.name, "notify")
notified = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
notified.bind(path)
notified.settimeout(60)


def start(kept):
    child = os.fork()
    if child == 0:
        os.environ["NOTIFY_SOCKET"] = path
        if kept is not None:
            os.dup2(kept, 3)
            os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES="http")
        os.execv(command[0], command)
    return child


def until(word):
    """Notifications up to this one, and what was handed over on the way."""
    kept = None
    while True:
        text, ancillary, _, _ = notified.recvmsg(4096, socket.CMSG_SPACE(4))
        for level, kind, data in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                kept = array.array("i", data)[0]
                assert "FDNAME=http" in text.decode() and "FDSTORE=1" in text.decode(), text
        if word in text.decode().splitlines():
            return kept


def stop(child):
    os.kill(child, signal.SIGTERM)
    assert os.waitpid(child, 0)[1] == 0, "a clean stop"


first = start(None)
kept = until("READY=1")
assert kept is not None, "the listening socket was handed over"
stop(first)
until("STOPPING=1")

waits = socket.create_connection(("127.0.0.1", port), timeout=60)
waits.sendall(b"GET /livez HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n")
second = start(kept)
assert until("READY=1") is None, "what is kept already is not handed over again"
answer = b""
while part := waits.recv(4096):
    answer += part
print(answer.decode().splitlines()[0])
stop(second)
