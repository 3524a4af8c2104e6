"""`underscore bench farm --quick`: a real coordinator and workers that compose silence."""
import glob
import os
import re
import subprocess
import time
import unittest

import e2e


class BenchFarm(e2e.Case):
    def test_all_that_is_composed_is_accepted(self):
        before = set(glob.glob("/var/tmp/underscore-farm-*"))
        said = self.good("bench", "farm", "--quick").stdout
        rows = re.findall(r"^ +(\d+) +40 +(\d+)/s +(\d+) us +(\d+) ms", said, re.M)
        self.assertEqual([row[0] for row in rows], ["1000", "4000"], said)
        self.assertTrue(all(int(row[1]) > 0 and int(row[3]) < 1e6 for row in rows), said)
        self.assertNotIn("refused", said)
        self.assertIn("MB/s over CURVE", said)
        self.assertEqual(set(glob.glob("/var/tmp/underscore-farm-*")) - before, set())

    def test_interrupted_it_leaves_nothing(self):
        before = set(glob.glob("/var/tmp/underscore-farm-*"))
        bench = subprocess.Popen([os.environ["UNDERSCORE"], "bench", "farm", "--quick"], stdout=subprocess.DEVNULL,
                                 stderr=subprocess.PIPE, text=True)
        until = time.monotonic() + 60
        while not (mine := set(glob.glob("/var/tmp/underscore-farm-*/control")) - before) and time.monotonic() < until:
            time.sleep(0.05)
        self.assertTrue(mine)
        bench.terminate()
        self.assertEqual((bench.wait(timeout=60), bench.stderr.read().count("\n")), (130, 0))
        self.assertEqual(set(glob.glob("/var/tmp/underscore-farm-*")) - before, set())


if __name__ == "__main__":
    e2e.main()
