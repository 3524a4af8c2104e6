"""Peers that do not keep to the rules: results sent twice and out of order, messages damaged and cut short."""
import json
import os
import random
import re
import sqlite3

import faults
from faults import ACCEPTED, e2e, report, rounds
from standin import CHUNK, StandIn, crc32c, part, work
from wire import Peer

CANCEL, RETRY = 0, 3 # as common/wire counts orders


class Twice(StandIn):
    """Sends all of a result two times over without waiting for anything, a tenth of it out of order."""
    chance = random.Random(3)
    swapped = sent = 0

    def offer(self, attempt, task):
        fence, result = task["lease"]["fence"], task["result"]
        pieces = [("CHUNK", {"what": 2, "off": at, "crc32c": crc32c(result[at:at + CHUNK]), "data": result[at:at + CHUNK]})
                  for at in range(0, len(result), CHUNK)]
        messages = 2 * [("OPEN", {"fence": fence, "bytes": len(result)}), *pieces,
                        ("COMMIT", {"fence": fence, "bytes": len(result), "crc32c": crc32c(result)})]
        for i in range(len(messages) - 1):
            if self.chance.random() < 0.1:
                messages[i], messages[i + 1] = messages[i + 1], messages[i]
                Twice.swapped += 1
        for kind, fields in messages:
            self.bulk.send(kind, attempt=attempt, **fields)
        Twice.sent += len(messages)

    def on_bulk(self, m, now):
        if m["type"] != "CREDIT": # of no interest
            super().on_bulk(m, now)


class OpensAgain(StandIn):
    """Sends a result, and at once begins to send it again, but never goes on."""

    def offer(self, attempt, task):
        fence, result = task["lease"]["fence"], task["result"]
        opening = {"fence": fence, "bytes": len(result)}
        self.bulk.send("OPEN", attempt=attempt, **opening)
        for at in range(0, len(result), CHUNK):
            piece = result[at:at + CHUNK]
            self.bulk.send("CHUNK", attempt=attempt, what=2, off=at, crc32c=crc32c(piece), data=piece)
        self.bulk.send("COMMIT", attempt=attempt, crc32c=crc32c(result), **opening)
        self.bulk.send("OPEN", attempt=attempt, **opening)

    def on_bulk(self, m, now):
        if m["type"] != "CREDIT":
            super().on_bulk(m, now)


class Reader(StandIn):
    """Waits with the first segment that goes on from another, until it is told to ask for its prompt."""
    waits = None

    def on_lease(self, m, now):
        super().on_lease(m, now)
        if m["prompt_columns"] and not self.waits and m["attempt"] in self.tasks:
            self.waits = m["segment"], m["attempt"]
            self.tasks[m["attempt"]]["due"] = float("inf")

    def ask(self):
        self.bulk.send("FETCH", attempt=self.waits[1], what=1, off=0)


class Counter(StandIn):
    def __init__(self, *args, **facts):
        super().__init__(*args, **facts)
        self.jobs = []

    def on_lease(self, m, now):
        if m["attempt"] not in self.tasks:
            self.jobs.append(m["job"])
        super().on_lease(m, now)


class Peers(faults.Case):
    seconds = rounds(24, 150)

    def test_results_twice_and_out_of_order(self):
        with self.farm("twice", lease=30) as farm, Twice(farm, "n1", 1) as one, Twice(farm, "n2", 2) as two:
            out = self.path("twice/out.mp4")
            farm.start_coordinator()
            work([one, two], lambda: one.welcome and two.welcome)
            self.submit(farm, out)
            work([one, two], lambda: os.path.exists(out), 1800)
            self.stop(farm)
            self.assertEqual(farm.check_ledger(), [])
            answers = {**one.answers, **two.answers}
            segments = self.ask(farm, "SELECT count(*) FROM segments")
            accepted = self.ask(farm, "SELECT count(*) FROM attempts WHERE outcome = ?", ACCEPTED)
            self.assertEqual(accepted, segments)
            self.assertEqual(sum(a.count("ACCEPTED") for a in answers.values()), segments)
            self.assertTrue(all(a.count("ACCEPTED") <= 1 for a in answers.values()), answers)
            again = sum(a.count("DUP") + a.count("STALE") for a in answers.values())
            # How many is the disk's affair: a second that comes while the first is being written needs no answer.
            self.assertGreater(again, 0)
            self.assertEqual(e2e.samples(out), self.samples)
        report("every result sent twice, 10 % reordered", f"{segments} results", "exactly one accepted",
               f"{accepted} accepted, {again} refused as DUP or STALE; {Twice.swapped} of {Twice.sent} messages swapped")

    def test_opened_again_before_it_is_accepted(self):
        """The first may not have its name yet: its file is left alone."""
        with self.farm("again", lease=30) as farm, OpensAgain(farm, "n1", 1) as peer:
            out = self.path("again/out.mp4")
            farm.start_coordinator()
            work([peer], lambda: peer.welcome)
            self.submit(farm, out)
            work([peer], lambda: os.path.exists(out), 120)
            self.stop(farm)
            self.assertEqual(farm.check_ledger(), [])
            self.assertEqual(e2e.samples(out), self.samples)

    def test_an_owner_s_weight(self):
        """Not a fault: who is at work here says for whom, one segment after the other."""
        # A segment a second: whose pictures are not there yet is passed over, and on a busy machine they take a while.
        with self.farm("weight", lease=30) as farm, Counter(farm, "n1", 1, rate=2) as peer:
            farm.start_coordinator("--weight", "ann=3")
            work([peer], lambda: peer.welcome)
            farm.ask("queue", "stop")
            for owner in "ann", "bob":
                self.submit(farm, self.path(f"weight/{owner}.mp4"), "--owner", owner)
            jobs = lambda: json.loads(farm.ask("list", "--json").stdout)["jobs"]
            farm.wait_until(lambda: [j["state"] for j in jobs()] == ["PLANNED", "PLANNED"])
            farm.ask("queue", "start")
            work([peer], lambda: len(peer.jobs) >= 13, 120)
            self.stop(farm)
            self.assertIn(peer.jobs[:12].count(1), (8, 9, 10), peer.jobs)

    def test_messages_that_came_before(self):
        """Whoever sends again what was sent changes nothing by it, and is told."""
        with self.farm("replayed", lease=600) as farm, StandIn(farm, "n1", 1) as peer:
            farm.start_coordinator()
            work([peer], lambda: peer.welcome)
            farm.ask("queue", "stop")
            self.submit(farm, self.path("replayed/out.mp4"))
            with Peer(farm.control, 0) as client:
                cancel = client.message("ORDER", job=1, what=CANCEL, value=0)
                client.send_bytes(cancel)
                client.receive()
                client.send("ORDER", job=1, what=RETRY, value=0)
                client.receive()
                before = self.state(farm)
                self.assertNotEqual(before, "CANCELLED")
                for message in [cancel] * 20:
                    client.send_bytes(message)
                    self.assertIn("came before", client.receive("REJECT")["reason"])
                self.assertEqual(dropped(farm), 20)
                client.send("ORDER", job=1, what=CANCEL, value=0)
                client.receive()
                self.assertEqual(self.state(farm), "CANCELLED")
            self.stop(farm)

    def test_messages_that_are_too_large(self):
        """Beyond what a message may be it is dropped, counted and told; beyond what is read at all, cut off."""
        with self.farm("large", lease=600) as farm:
            farm.start_coordinator()
            with Peer(farm.control, 0) as client:
                client.send("CONFIG", what=0, more="x" * 60000, still="x" * 60000)
                self.assertIn("too large", client.receive("REJECT")["reason"])
                self.assertEqual(dropped(farm), 1)
            for address in farm.control, farm.bulk:
                with Peer(address, 0) as peer:
                    peer.send_bytes(bytes(3 << 20))
                    self.assertIsNone(peer.receive(seconds=1))
            self.assertEqual(dropped(farm), 1) # the others were not even read
            self.assertEqual(farm.ask("list").returncode, 0)
            self.stop(farm)

    def state(self, farm):
        return json.loads(farm.ask("show", 1, "--json").stdout)["state"]

    def test_a_part_that_is_damaged_while_it_is_a_prompt(self):
        with self.farm("prompt", lease=30) as farm, Reader(farm, "n1", 1) as peer:
            out, parts = self.path("prompt/out.mp4"), farm.path("coordinator", "jobs", "1", "parts")
            farm.start_coordinator()
            work([peer], lambda: peer.welcome)
            self.submit(farm, out)
            work([peer], lambda: peer.waits)
            os.truncate(os.path.join(parts, f"c{peer.waits[0] // 2:04}s000.safetensors"), 5000) # two to a cue
            peer.ask()
            work([peer], lambda: os.path.exists(out), 120)
            self.stop(farm)
            self.assertEqual(farm.check_ledger(), [])
            self.assertIn(f"segment {peer.waits[0] - 1} is damaged or gone; it is composed again", farm.log("coordinator"))
            self.assertEqual(peer.answers[peer.waits[1]], ["STALE"])
            self.assertEqual(self.ask(farm, "SELECT sum(spoilt) FROM segments"), 1)
            self.assertEqual(e2e.samples(out), self.samples)

    def ask(self, farm, question, *values):
        db = sqlite3.connect(farm.path("coordinator", "ledger.db"))
        (found,) = db.execute(question, values).fetchone()
        db.close()
        return found

    def test_damaged_messages(self):
        """What is cut short or too long is dropped and counted; a result with a bit turned is never accepted."""
        count, chance = rounds(1000, 10000), random.Random(4)
        with self.farm("damaged", lease=600) as farm, Spoiler(farm, "n1", 1) as spoiler, StandIn(farm, "n2", 2) as sound:
            out = self.path("damaged/out.mp4")
            farm.start_coordinator()
            work([spoiler], lambda: spoiler.welcome)
            self.submit(farm, out)
            work([spoiler], lambda: spoiler.tasks)
            self.cut_short(farm, spoiler, chance, count // 2)
            for _ in range(count // 2):
                spoiler.spoil(chance)
                spoiler.step()
            spoiler.bulk.send("FETCH", attempt=min(spoiler.tasks), what=0, off=0)
            work([spoiler], lambda: spoiler.fetched) # all before it was heard
            self.assertNotIn("ACCEPTED", str(spoiler.answers))
            self.assertIsNone(farm.coordinator.poll())
            self.assertEqual(farm.ask("list").returncode, 0)
            self.assertEqual(farm.done_segments(), 0)
            # Those that keep to the rules notice nothing of it.
            spoiler.control.send("GOODBYE", reason="enough")
            work([sound], lambda: os.path.exists(out), 600)
            self.stop(farm)
            self.assertEqual(farm.check_ledger(), [])
            self.assertEqual(e2e.samples(out), self.samples)
        report("corrupted or truncated messages", f"{count} messages", "0 crashes, 0 accepted", "0 crashes, 0 accepted")

    def cut_short(self, farm, spoiler, chance, count):
        """Messages that were sound, less or more by some bytes: each is dropped."""
        said = spoiler.said + [(spoiler.bulk, data) for data in spoiler.messages()]
        before = dropped(farm)
        for n in range(count):
            peer, data = chance.choice(said)
            data = data[:chance.randrange(len(data))] if chance.random() < 0.8 else data + chance.randbytes(chance.randint(1, 99))
            peer.send_bytes(data)
            if n % 50 == 0:
                spoiler.step() # takes what it is told
        work([spoiler], lambda: dropped(farm) >= before + count)
        self.assertLess(dropped(farm), before + count + 10) # what the peer says in between may come too late, and is dropped, too


def dropped(farm):
    found = re.findall(r"\((\d+) so far\)", farm.log("coordinator"))
    return int(found[-1]) if found else 0


class Spoiler(StandIn):
    """Keeps what it says, and never delivers anything that is whole."""
    fetched = False

    def __init__(self, *args, **facts):
        super().__init__(*args, **facts)
        self.said, send = [], self.control.send_bytes
        def keep(data):
            if len(self.said) < 100:
                self.said.append((self.control, data))
            send(data)
        self.control.send_bytes = keep

    def composed(self, attempt, task):
        pass

    def on_bulk(self, m, now):
        self.fetched |= m["type"] == "CHUNK"
        self.answers.setdefault(m["attempt"], []).append(m["type"])

    def messages(self):
        """Of a sound result."""
        attempt, task = min(self.tasks.items())
        fence, result = task["lease"]["fence"], part(task["lease"]["key"], task["lease"]["columns"])
        pieces = [(at, result[at:at + CHUNK]) for at in range(0, len(result), CHUNK)]
        return [self.bulk.message("OPEN", attempt=attempt, fence=fence, bytes=len(result)),
                *(self.bulk.message("CHUNK", attempt=attempt, what=2, off=at, crc32c=crc32c(data), data=data)
                  for at, data in pieces),
                self.bulk.message("COMMIT", attempt=attempt, fence=fence, bytes=len(result), crc32c=crc32c(result))]

    def spoil(self, chance):
        """A result of whose messages one has a bit turned, anywhere but in the envelope: who sent a
        message and when changes nothing."""
        messages = self.messages()
        which = chance.randrange(len(messages))
        data = bytearray(messages[which])
        data[chance.randrange(data.index(b"epoch") + 14, len(data))] ^= 1 << chance.randrange(8)
        messages[which] = bytes(data)
        for data in messages:
            self.bulk.send_bytes(data)


if __name__ == "__main__":
    e2e.main()
