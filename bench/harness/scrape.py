"""Reading /metrics again and again while a candidate is under load, as Prometheus does."""

import http.client
import socket
import threading
from contextlib import contextmanager
from pathlib import Path

from .system import Failure

# Where Ringate's admin listener is by default, beside its config.
SOCKET = "run/admin.sock"


class AdminConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=5)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self.path))


def scrape(path):
    connection = AdminConnection(path)
    try:
        connection.request("GET", "/metrics")
        response = connection.getresponse()
        text = response.read()
    finally:
        connection.close()
    if response.status != 200 or b"ringate_requests_total" not in text:
        raise Failure(f"/metrics answered {response.status} with {len(text)} bytes")


@contextmanager
def scraping(folder, interval):
    """Scrapes at once, and then after each interval in seconds; 0: never. Fails if one scrape fails."""
    if not interval:
        yield
        return
    ended, failures = threading.Event(), []

    def run():
        try:
            while True:
                scrape(Path(folder, SOCKET))
                if ended.wait(interval):
                    return
        except (Failure, OSError) as failure:
            failures.append(failure)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    if failures:
        raise Failure(f"a scrape failed: {failures[0]}")
