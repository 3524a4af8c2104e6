"""What score says at its end: drawn on a terminal, plain lines elsewhere."""
import fcntl
import os
import re
import struct
import subprocess
import termios

import e2e
from e2e import SHORT

BLOCKS = "▁▂▃▄▅▆▇█"


class Summary(e2e.Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.film = e2e.make_film(cls.path("film.mp4"), seconds=9)

    def wanted(self, *more):
        return ("score", self.film, "-o", self.path("scored.mp4"), "--model", self.model, "-y", *SHORT, *more)

    def on_terminal(self, columns, lines, *more, locale="C.UTF-8"):
        """What is written to a terminal of that size."""
        ours, theirs = os.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        process = subprocess.Popen(e2e.command(*self.wanted(*more)), stdin=subprocess.DEVNULL, stdout=theirs,
                                   stderr=subprocess.DEVNULL, env={**os.environ, "LC_ALL": locale})
        os.close(theirs)
        text = b""
        while True:
            try:
                piece = os.read(ours, 4096)
            except OSError: # the last writer has gone
                break
            text += piece
        os.close(ours)
        self.assertEqual(process.wait(timeout=900), 0)
        return text.decode().splitlines()

    def cue_lines(self, lines):
        return [line for line in lines if re.match(r"^ +\d+ +\d+:\d\d\.\d ", line)]

    def test_plain_for_programs(self):
        lines = self.good(*self.wanted()).stdout.splitlines()
        self.assertFalse([line for line in lines if set(line) & set(BLOCKS)])
        cues = [line for line in lines if line.startswith("  cue ")]
        self.assertGreaterEqual(len(cues), 3)
        for line in cues:
            self.assertRegex(line, r"^  cue \d+ +\d:\d\d\.\d - \d:\d\d\.\d +\d+ segments? +-\d+\.\d LUFS$")
        self.assertTrue(any(line.startswith(f"seams: {len(cues) - 1} between cues") for line in lines), lines)
        self.assertEqual(lines[-1], self.path("scored.mp4"))

    def test_drawn_to_the_terminal_s_width(self):
        for columns in (60, 300):
            with self.subTest(columns=columns):
                lines = self.on_terminal(columns, 40)
                cues = self.cue_lines(lines)
                self.assertGreaterEqual(len(cues), 3)
                for line in cues:
                    self.assertTrue(set(line) & set(BLOCKS), line)
                    self.assertTrue(line.endswith(" LUFS"), line)
                self.assertEqual(len(set(map(len, cues))), 1) # aligned
                self.assertEqual(len(cues[0]), min(columns, 120) - 1)
                longest = max(sum(c in BLOCKS for c in line) for line in cues)
                self.assertEqual(longest, min(columns, 120) - 37)

    def test_many_cues_stay_on_one_screen(self):
        lines = self.on_terminal(80, 12, "--min-cue", "1", "--max-cue", "1", "--crossfade", "0.2", "--segment", "1",
                                 "--overlap", "0.2")
        self.assertEqual(len(self.cue_lines(lines)), 8)
        self.assertIn("      and 1 more", lines)
        self.assertTrue(any(line.startswith("seams: 8 between cues") for line in lines), lines)

    def test_plain_where_nothing_can_be_drawn(self):
        for columns, locale in ((59, "C.UTF-8"), (80, "C")):
            with self.subTest(columns=columns, locale=locale):
                lines = self.on_terminal(columns, 40, locale=locale)
                self.assertEqual(self.cue_lines(lines), [])
                self.assertTrue(any(line.startswith("  cue 0 ") for line in lines), lines)


if __name__ == "__main__":
    e2e.main()
