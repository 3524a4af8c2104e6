"""The status page of a coordinator, in a browser and for Prometheus."""
import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import time

import e2e
from e2e import SHORT
from farm import Farm
from page_e2e import Page

BROWSER = shutil.which("chromium")


class Counting:
    """Passes connections on to a port and counts the requests for /."""

    def __init__(self, port):
        self.to, self.count = port, 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self.to))
            threading.Thread(target=self._pass, args=(near, far), daemon=True).start()
            threading.Thread(target=self._pass, args=(far, near), daemon=True).start()

    def _pass(self, a, b):
        try:
            while data := a.recv(65536):
                self.count += data.count(b"GET / HTTP")
                b.sendall(data)
        except OSError:
            pass
        finally:
            a.close(), b.close()


class StatusPage(e2e.Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.film = e2e.make_film(cls.path("film.mp4"), seconds=9, sound=0)

    def port(self, farm):
        farm.wait_until(lambda: "status page: http://" in farm.log("coordinator"))
        return int(re.findall(r"status page: http://127\.0\.0\.1:(\d+)/", farm.log("coordinator"))[-1])

    def get(self, port, path, method="GET"):
        c = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        c.request(method, path)
        answer = c.getresponse()
        text = answer.read().decode()
        c.close()
        return answer.status, text

    def page(self, port):
        """The page, read strictly."""
        status, text = self.get(port, "/")
        self.assertEqual(status, 200, text)
        with open(self.path("page.html"), "w", encoding="utf-8") as f:
            f.write(text)
        return Page(self.path("page.html"))

    def figures(self, port):
        """{name with labels: value}; each family once, with HELP and TYPE before its samples."""
        out, families, now = {}, {}, None
        for line in self.get(port, "/metrics")[1].splitlines():
            if line.startswith("# HELP "):
                now = line.split()[2]
                self.assertNotIn(now, families)
                families[now] = None
            elif line.startswith("# TYPE "):
                self.assertEqual(line.split()[2], now)
                families[now] = line.split()[3]
            else:
                name, value = re.fullmatch(r'(\w+(?:\{\w+="(?:[^"\\]|\\.)*"\})?) ([0-9.e+-]+)', line).groups()
                self.assertEqual(re.match(r"\w+", name)[0], now)
                self.assertEqual(families[now] == "counter", now.endswith("_total"), now)
                self.assertNotIn(name, out)
                out[name] = float(value)
        return out

    def browser(self, *args, scripts="false"):
        return [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                f"--blink-settings=scriptEnabled={scripts}", f"--user-data-dir={tempfile.mkdtemp(dir=self.folder)}", *args]

    def test_what_it_shows(self):
        hostile = shutil.copy(self.film, self.path("<img src=x onerror=alert(1)>&\x1b[2J\udcff.mp4"))
        with open(self.path("bad.mp4"), "wb") as f:
            f.write(b"no film" * 1000)
        with Farm(self.path("farm"), self.model, status="127.0.0.1:0") as farm:
            farm.start_coordinator()
            port = self.port(farm)
            self.assertIn("None has been here", self.page(port).text)
            farm.start_worker("a")
            farm.wait_until(lambda: "READY" in self.page(port).text)
            self.assertEqual(farm.ask("queue", "stop").returncode, 0)
            self.assertEqual(farm.submit(hostile, self.path("farm/1.mp4"), *SHORT).returncode, 0)
            self.assertEqual(farm.submit(self.path("bad.mp4"), self.path("farm/2.mp4"), *SHORT, "--wait").returncode, 65)
            farm.wait_until(lambda: "PLANNED" in self.page(port).text and "FAILED" in self.page(port).text)
            page = self.page(port)
            self.assertIn("<img src=x onerror=alert(1)>&\ufffd[2J\ufffd.mp4", page.text)
            self.assertIn("The queue is stopped", page.text)
            self.assertEqual([t for t, _ in page.elements if t in ("img", "script", "iframe", "object", "form")], [])
            self.assertEqual([a for _, attributes in page.elements for a in attributes if a.startswith("on")], [])
            job = json.loads(farm.ask("show", 1, "--json").stdout)
            waiting = len(page.all("rect", class_="s0"))
            self.assertEqual((waiting, len(page.all("rect", class_="s2"))), (job["segments"], 0))
            self.assertEqual(len(page.all("line")), job["cues"])
            figures = self.figures(port)
            self.assertEqual((figures['underscore_jobs{state="PLANNED"}'], figures['underscore_jobs{state="FAILED"}'],
                              figures["underscore_queue_stopped"], figures['underscore_worker_up{worker="a"}']), (1, 1, 1, 1))
            if BROWSER:
                self.in_a_browser(port)

            self.assertEqual(farm.ask("queue", "start").returncode, 0)
            farm.wait_until(lambda: json.loads(farm.ask("show", 1, "--json").stdout)["state"] == "DONE")
            farm.wait_until(lambda: "Nothing is to be done" in self.page(port).text)
            figures = self.figures(port)
            self.assertEqual(figures['underscore_attempts_total{outcome="accepted"}'], job["segments"])
            self.assertEqual(figures['underscore_worker_segments_done_total{worker="a"}'], job["segments"])
            # What is composed of a cue beyond the end of the film counts as well: about the film's length.
            self.assertGreater(figures["underscore_music_seconds_total"], 9 - 0.1)
            self.assertGreater(figures["underscore_gpu_seconds_total"], 0)
            self.assertEqual(self.get(port, "/", "POST")[0], 405)
            self.assertEqual(self.get(port, "/secret")[0], 404)
            self.assertEqual(farm.stop(), [0, 0])

    def in_a_browser(self, port):
        """It shows the film, and loads itself again without JavaScript, which the page has none of and the
        browser's own commands need."""
        shown = subprocess.run(self.browser("--dump-dom", f"http://127.0.0.1:{port}/", scripts="true"),
                               capture_output=True, text=True, timeout=120)
        self.assertIn("&lt;img src=x", shown.stdout)
        self.assertNotIn("<img", shown.stdout)
        subprocess.run(self.browser("--window-size=1000,1400", "--hide-scrollbars", f"--screenshot={self.path('status.png')}",
                                    f"http://127.0.0.1:{port}/", scripts="true"), capture_output=True, timeout=120)
        self.assertGreater(os.path.getsize(self.path("status.png")), 10000)
        counting = Counting(port)
        browser = subprocess.Popen(self.browser("--remote-debugging-port=0", f"http://127.0.0.1:{counting.port}/"),
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until = time.monotonic() + 60
        while counting.count < 3 and time.monotonic() < until:
            time.sleep(0.2)
        browser.terminate()
        browser.wait()
        counting.listener.close()
        self.assertGreaterEqual(counting.count, 3)

    def test_where_it_is(self):
        with Farm(self.path("where"), self.model, status="127.0.0.1:0") as farm, \
             Farm(self.path("taken"), self.model) as other, Farm(self.path("wrong"), self.model, status="here") as wrong:
            farm.start_coordinator()
            other.status = f"127.0.0.1:{self.port(farm)}"
            self.assertEqual(other.start_coordinator().wait(timeout=120), 69)
            self.assertIn("cannot listen", other.log("coordinator"))
            self.assertEqual(wrong.start_coordinator().wait(timeout=120), 78)
            self.assertEqual(farm.stop(), [0])


if __name__ == "__main__":
    e2e.main()
