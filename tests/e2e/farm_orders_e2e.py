"""What a farm is told to do, it does at once, and remembers what it must."""
import json
import os
import re
import signal
import time

import e2e
from e2e import SHORT
from farm import Farm, children
from wire import Peer

# One segment that a tiny model is at for a while.
LONG = ["--segment", "30", "--min-cue", "25", "--max-cue", "180", "--overlap", "1", "--cut", "none"]


class Orders(e2e.Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.film = e2e.make_film(cls.path("film.mp4"), seconds=9)
        cls.long = e2e.make_film(cls.path("long.mp4"), seconds=29)

    def node(self, farm, name):
        done = farm.ask("node", "show", name, "--json")
        return json.loads(done.stdout) if done.returncode == 0 else {"state": "", "work": []} # not here yet

    def job(self, farm, number=1):
        return json.loads(farm.ask("show", number, "--json").stdout)

    def order(self, farm, *args):
        done = farm.ask("node", *args)
        self.assertEqual(done.returncode, 0, done.stderr)

    def submit(self, farm, film, out, *args):
        done = farm.submit(film, out, *args)
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_cancelling_stops_the_gpu(self):
        with Farm(self.path("cancel"), self.model) as farm:
            farm.start_coordinator()
            farm.start_worker("a")
            self.submit(farm, self.long, self.path("cancel/out.mp4"), *LONG)
            farm.wait_until(lambda: len(self.node(farm, "a")["work"]) == 1)
            time.sleep(0.5) # it composes
            start = time.monotonic()
            self.assertEqual(farm.ask("cancel", 1).returncode, 0)
            farm.wait_until(lambda: "worker a has stopped attempt" in farm.log("coordinator"))
            self.assertLess(time.monotonic() - start, 20) # a second or two, but for sanitizers on a busy machine
            self.assertEqual((self.node(farm, "a")["work"], self.job(farm)["done"]), ([], 0))
            # There is room again: the next film is composed.
            done = farm.submit(self.film, self.path("cancel/next.mp4"), *SHORT, "--wait")
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(self.node(farm, "a")["failed"], 0)
            self.assertEqual(farm.stop(), [0, 0])
            self.assertEqual(farm.check_ledger(), [])

    def delivering(self, farm):
        """The child process that delivers, if there is one now."""
        return next((pid for pid, line in children(farm.coordinator.pid) if "publish" in line), None)

    def stop_while_it_writes(self, farm, child, folder):
        """Lets it run in slices until it has begun its file; it is stopped then. False: it was through before."""
        while not any(name.endswith(".part") for name in os.listdir(folder)):
            try:
                os.kill(child, signal.SIGCONT)
                time.sleep(0.002)
                os.kill(child, signal.SIGSTOP)
            except ProcessLookupError:
                return False
            if self.delivering(farm) != child:
                return False
        return True

    def test_cancelling_leaves_nothing_of_a_delivery(self):
        with Farm(self.path("delivery"), self.model) as farm:
            farm.start_coordinator()
            farm.start_worker("a")
            for job in range(1, 9): # until one is caught at it
                folder = self.path(f"delivery/{job}")
                os.makedirs(folder)
                self.submit(farm, self.film, f"{folder}/out.mp4", *SHORT)
                farm.wait_until(lambda: self.delivering(farm) or self.job(farm, job)["state"] == "DONE", every=0.005)
                child = self.delivering(farm)
                if child and self.stop_while_it_writes(farm, child, folder):
                    break
            self.assertTrue([name for name in os.listdir(folder) if name.endswith(".part")])
            self.assertEqual(farm.ask("cancel", job).returncode, 0)
            self.assertEqual((self.job(farm, job)["state"], os.listdir(folder)), ("CANCELLED", []))
            self.assertEqual(farm.ask("retry", job).returncode, 0)
            farm.wait_until(lambda: self.job(farm, job)["state"] == "DONE")
            self.assertEqual(os.listdir(folder), ["out.mp4"])
            self.assertEqual(farm.stop(), [0, 0])

    def test_a_priority_leaves_a_delivery_alone(self):
        """It was begun anew each time: a long film whose priority somebody sets every minute was never done."""
        with Farm(self.path("urgent"), self.model) as farm:
            farm.start_coordinator()
            farm.start_worker("a")
            for job in range(1, 9): # until one is caught at it
                self.submit(farm, self.film, self.path(f"urgent/{job}.mp4"), *SHORT)
                farm.wait_until(lambda: self.delivering(farm) or self.job(farm, job)["state"] == "DONE", every=0.005)
                child = self.delivering(farm)
                if child and self.stop_while_it_writes(farm, child, self.path("urgent")):
                    break
            self.assertEqual(farm.ask("prio", job, 7).returncode, 0)
            self.assertEqual((self.delivering(farm), self.job(farm, job)["state"]), (child, "ASSEMBLING"))
            os.kill(child, signal.SIGCONT)
            farm.wait_until(lambda: self.job(farm, job)["state"] == "DONE")
            self.assertEqual(farm.stop(), [0, 0])

    def test_several_jobs_and_a_priority(self):
        with Farm(self.path("several"), self.model) as farm:
            farm.start_coordinator()
            for n in (1, 2, 3):
                self.submit(farm, self.film, self.path(f"several/{n}.mp4"), *SHORT)
            done = farm.ask("cancel", 1, 9, 3, "--json")
            self.assertEqual((done.returncode, "no job 9" in done.stderr), (65, True), done.stderr)
            self.assertEqual(re.findall(r'"job": (\d)', done.stdout), ["1", "3"])
            self.assertEqual([self.job(farm, n)["state"] for n in (1, 2, 3)], ["CANCELLED", "SUBMITTED", "CANCELLED"])
            self.assertEqual(farm.ask("retry", 3, "x").returncode, 64) # nothing is done when one makes no sense
            self.assertEqual(self.job(farm, 3)["state"], "CANCELLED")
            self.assertEqual(farm.ask("retry", 3, 1).returncode, 0)
            for value, status, now in ((-7, 0, -7), ("high", 64, -7), (5000, 64, -7), (1000, 0, 1000)):
                self.assertEqual(farm.ask("prio", 2, value).returncode, status, value)
                self.assertEqual(self.job(farm, 2)["priority"], now)
            self.assertEqual(farm.stop(), [0])

    def test_a_drained_node_gets_nothing_new(self):
        with Farm(self.path("drained"), self.model) as farm:
            farm.start_coordinator()
            farm.start_worker("a")
            farm.wait_until(lambda: farm.ask("node", "show", "a").returncode == 0)
            self.submit(farm, self.film, self.path("drained/out.mp4"), *SHORT)
            farm.wait_until(lambda: farm.done_segments() >= 1)
            self.order(farm, "drain", "a")
            farm.wait_until(lambda: self.node(farm, "a")["held"] == 0)
            node, done = self.node(farm, "a"), self.job(farm)["done"]
            self.assertEqual((node["state"], node["drained"], node["failed"]), ("QUIET", True, 0))
            self.assertLess(done, self.job(farm)["segments"])
            # It and the coordinator are started anew: nothing is forgotten.
            self.assertEqual(farm.stop(), [0, 0])
            farm.start_coordinator()
            self.assertTrue(self.node(farm, "a")["drained"])
            farm.start_worker("a")
            farm.wait_until(lambda: self.node(farm, "a")["state"] == "QUIET")
            time.sleep(1)
            self.assertEqual((self.node(farm, "a")["held"], self.job(farm)["done"]), (0, done))
            self.order(farm, "undrain", "a")
            farm.wait_until(lambda: self.job(farm)["state"] == "DONE")
            self.assertEqual(farm.stop(), [0, 0])
            self.assertEqual(farm.check_ledger(), [])

    def test_quarantine(self):
        with Farm(self.path("quarantine"), self.model) as farm:
            farm.start_coordinator()
            farm.start_worker("a")
            farm.wait_until(lambda: farm.ask("node", "show", "a").returncode == 0)
            self.order(farm, "quarantine", "a")
            farm.coordinator.kill()
            farm.coordinator.wait()
            farm.start_coordinator()
            farm.wait_until(lambda: self.node(farm, "a")["state"] == "READY")
            self.submit(farm, self.film, self.path("quarantine/out.mp4"), *SHORT)
            farm.wait_until(lambda: self.job(farm)["state"] == "PLANNED")
            time.sleep(1)
            self.assertTrue(self.node(farm, "a")["quarantined"])
            self.assertIn("QUARANTINED", farm.ask("node", "list").stdout)
            self.assertEqual(self.job(farm)["running"], 0)
            self.order(farm, "release", "a")
            farm.wait_until(lambda: self.job(farm)["state"] == "DONE")
            self.assertEqual(farm.stop(), [0, 0])

    def test_two_of_one_name(self):
        """The later one stays, the earlier leaves by itself, and nothing is composed for nothing."""
        with Farm(self.path("twice"), self.model) as farm:
            farm.start_coordinator()
            first = farm.start_worker("a")
            self.submit(farm, self.film, self.path("twice/out.mp4"), *SHORT)
            farm.wait_until(lambda: farm.done_segments() >= 1)
            farm.start_worker("a", folder="a2")
            self.assertEqual(first.wait(timeout=120), 0)
            farm.wait_until(lambda: self.job(farm)["state"] == "DONE")
            self.assertEqual(farm.stop(), [0, 0])
            self.assertEqual(farm.check_ledger(), [])

    def test_a_lease_that_never_came(self):
        """It is sent again until its worker says that it has it; one that it has no more is another's."""
        with Farm(self.path("lost"), self.model, lease=60) as farm:
            farm.start_coordinator()
            with Peer(farm.control) as worker:
                self.assertEqual(worker.hello("deaf")["type"], "WELCOME")
                self.submit(farm, self.film, self.path("lost/out.mp4"), *LONG)
                def lease(*held): # beats until one comes
                    for _ in range(200):
                        worker.beat(*held)
                        found = worker.receive("LEASE", seconds=0.1)
                        if found:
                            return found
                    return None
                worker.send("PULL", want=1)
                first, again = lease(), lease()
                self.assertEqual((again["attempt"], again["fence"]), (first["attempt"], first["fence"]))
                worker.send("LEASE_ACK", attempt=first["attempt"])
                worker.beat(first["attempt"])
                self.assertEqual(self.job(farm)["running"], 1)
                worker.send("PULL", want=1)
                other = lease() # and says that it has none
                self.assertGreater(other["fence"], first["fence"])
                # A later start of that name takes over; the earlier one is told to leave.
                with Peer(farm.control, incarnation=2) as later:
                    self.assertEqual(later.hello("deaf")["type"], "WELCOME")
                    self.assertEqual(worker.beat(other["attempt"])["order"], 2)
                    self.assertEqual(worker.hello("deaf")["order"], 2)
                    self.assertEqual(later.beat()["order"], 0)
                    self.order(farm, "drain", "deaf")
                    self.assertEqual(later.beat()["order"], 1)
            self.assertEqual(farm.stop(), [0])

    def test_a_large_farm_is_listed_whole(self):
        """Page by page: no answer is longer than what waits for a client."""
        with Farm(self.path("large"), self.model) as farm:
            farm.start_coordinator()
            with Peer(farm.control) as worker:
                names = [f"n{n}/0" for n in range(1700)]
                for name in names:
                    self.assertEqual(worker.hello(name)["type"], "WELCOME")
                for args in (("node", "list"), ("top",)):
                    done = farm.ask(*args, "--json")
                    self.assertEqual(done.returncode, 0, done.stderr)
                    self.assertEqual([n["name"] for n in json.loads(done.stdout)["nodes"]], names)
                self.assertEqual(self.node(farm, "n1699/0")["name"], "n1699/0")
            self.assertEqual(farm.stop(), [0])

    def test_models_that_nobody_has_make_room(self):
        with Farm(self.path("models"), self.model) as farm:
            farm.start_coordinator()
            with Peer(farm.control) as worker:
                for n in range(32):
                    self.assertEqual(worker.hello(f"n{n}", model=f"{n:064x}")["type"], "WELCOME")
                self.assertEqual(worker.hello("late", model="ab" * 32)["type"], "REJECT")
                self.assertIn("32 models", farm.log("coordinator"))
                worker.send("GOODBYE", reason="") # of the last
                self.assertEqual(worker.hello("late", model="ab" * 32)["type"], "WELCOME")
            self.assertEqual(farm.stop(), [0])

    def test_what_is_refused(self):
        with Farm(self.path("refused"), self.model) as farm:
            farm.start_coordinator()
            for args in (("drain",), ("list", "a"), ("dance", "a"), ("drain", "a" * 200)):
                self.assertEqual(farm.ask("node", *args).returncode, 64, args)
            for args in (("drain", "nobody"), ("show", "nobody")):
                done = farm.ask("node", *args)
                self.assertEqual(done.returncode, 65, args)
                self.assertIn("no worker nobody", done.stderr)
            out = self.path("refused/out.mp4")
            self.submit(farm, self.film, out)
            self.assertEqual(farm.ask("cancel", 1).returncode, 0)
            self.submit(farm, self.film, out, "--seed", "7")
            done = farm.ask("retry", 1) # two would write the same file
            self.assertEqual(done.returncode, 65)
            self.assertIn("job 2 is to write this", done.stderr)
            self.assertEqual(farm.ask("cancel", 2).returncode, 0)
            self.assertEqual(farm.ask("retry", 1).returncode, 0)


if __name__ == "__main__":
    e2e.main()
