"""Clients and workers whose keys are wrong, missing or revoked: how soon they are refused, and the log has it."""
import re
import subprocess
import time

import faults
from faults import e2e, report, rounds

REFUSED = rounds(60, 1) # s; a busy machine is given more


class Keys(faults.Case):
    def refusal(self, farm, options, code, logged, worker):
        """Seconds until it has ended, and until the coordinator's log has it as well, from when it was started; of a
        worker, which opens its device and loads its model first, from when it has done so and asks to be let in."""
        time.sleep(1.1) # the log has so many of these lines in a second and no more
        before = len(farm.log("coordinator"))
        start = time.monotonic()
        if worker:
            process = farm.start_worker(f"w{before}", *options)
            farm.wait_until(lambda: re.search(r"^underscore-worker: (?!debug).* segments side by side$",
                                              farm.log(f"w{before}"), re.MULTILINE), every=0.005)
            start = time.monotonic()
        else:
            process = subprocess.Popen(e2e.command("list", "--farm", farm.control, *options), stdout=subprocess.DEVNULL,
                                       stderr=subprocess.DEVNULL)
        farm.wait_until(lambda: process.poll() is not None, every=0.005)
        ended = time.monotonic() - start
        farm.wait_until(lambda: re.search(logged, farm.log("coordinator")[before:]), every=0.005)
        self.assertEqual(process.returncode, code)
        return ended, time.monotonic() - start

    def test_refused(self):
        with self.farm("keys", lease=30, keys=True) as farm:
            farm.start_coordinator()
            farm.wait_until(lambda: farm.ask("list").returncode == 0)
            for name in ("stranger", "former", "other"):
                farm.make_key(name)
            farm.allow("former")
            farm.revoke("former")
            for test, options, logged in (
                    ("a key that is not in the list", farm.key_options("stranger"), "with a key that is not in"),
                    ("a revoked key", farm.key_options("former"), "with the revoked key of former"),
                    ("no key", ["-v"], "refused: .*, without"),
                    ("the key of another coordinator", ["--key", farm.key("client"), "--coordinator-key",
                                                        farm.public("other")], "which takes this for another")):
                for worker in (False, True):
                    times = [self.refusal(farm, options, 78, logged, worker) for _ in range(rounds(1, 5))]
                    ended, slowest = (max(t) for t in zip(*times))
                    report(f"{'worker' if worker else 'client'}: {test}", f"{len(times)} times", "refused and logged <= 1 s",
                           f"ended after {ended:.2f} s, logged after {slowest:.2f} s at the most")
                    self.assertLessEqual(slowest, REFUSED)
            self.assertEqual(farm.ask("list").returncode, 0) # who has a key has noticed nothing


if __name__ == "__main__":
    e2e.main()
