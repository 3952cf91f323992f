"""Defects to plant in the pool and the protocol, which seeds of the simulation find."""

from __future__ import annotations

from tests.mutants.planted import Mutant

BY_SEED = ("tests.simulation",)
"""A module that plays schedules until one fails, instead of tests."""

_DELIVERY = "protocol/delivery.py"
_RESUMABLE = "protocol/resumable.py"
_LINK = "protocol/link.py"
_FRAMING = "protocol/framing.py"
_MACHINE = "executor/pool_machine.py"
_ROSTER = "executor/roster.py"
_SCHEDULER = "executor/scheduler.py"
_LADDER = "executor/ladder.py"
_LEASE = "executor/lease.py"
_REVOCATION = "executor/revocation.py"
_INBOX = "executor/inbox.py"
_POOL = "executor/pool.py"

POOL_MUTANTS = (
    # -- delivery, framing -------------------------------------------------------------------------
    Mutant(
        "an acknowledgement frees nothing",
        "P6",
        _DELIVERY,
        "                self._free(acknowledged)\n",
        "                acknowledged = self.acknowledged\n",
        BY_SEED,
    ),
    Mutant(
        "an acknowledgement frees one too many",
        "P6",
        _DELIVERY,
        "range(acknowledged - self.acknowledged)",
        "range(min(acknowledged - self.acknowledged + 1, len(self._outbox)))",
        BY_SEED,
    ),
    Mutant(
        "a duplicate is taken",
        "F21, P1",
        _DELIVERY,
        "        if number <= received:\n",
        "        if False:\n",
        BY_SEED,
    ),
    Mutant(
        "an envelope of another epoch is taken",
        "F21",
        _DELIVERY,
        "        if epoch != self.epoch:\n",
        "        if False:\n",
        BY_SEED,
    ),
    Mutant(
        "a gap is not seen",
        "F22",
        _DELIVERY,
        "        if number > received and (bare or number != received + 1):\n",
        "        if False:\n",
        BY_SEED,
    ),
    Mutant(
        "envelopes acknowledge nothing",
        "P6",
        _FRAMING,
        "_UINT64, delivery.received, _ARRAY32",
        "_UINT64, 0, _ARRAY32",
        BY_SEED,
    ),
    Mutant(
        "nothing is sent again",
        "F22",
        _RESUMABLE,
        "        self._output += self.session.delivery.unacknowledged()\n",
        "",
        BY_SEED,
    ),
    Mutant(
        "a beat does not show what was lost at the end",
        "F22",
        _RESUMABLE,
        "self.session.bare(self.session.delivery.sent)",
        "self.session.bare(self.session.delivery.acknowledged)",
        BY_SEED,
    ),
    Mutant(
        "a greeting claims that all was received",
        "F22",
        _RESUMABLE,
        "return self.session.bare(self.session.delivery.acknowledged)",
        "return self.session.bare(self.session.delivery.sent)",
        BY_SEED,
    ),
    # -- link --------------------------------------------------------------------------------------
    Mutant(
        "a peer that is silent is never lost",
        "F29, P7",
        _LINK,
        "        silent = self._heard_at + times.lost_after_s, _E.SILENT\n",
        "        silent = math.inf, _E.SILENT\n",
        BY_SEED,
    ),
    Mutant(
        "a broken connection is not made again",
        "F29",
        _LINK,
        "now + self._back_off_s() if self._connects else math.inf",
        "math.inf",
        BY_SEED,
    ),
    Mutant(
        "nobody beats",
        "F29",
        _LINK,
        "            actions.append(LinkAction.BEAT)\n",
        "",
        BY_SEED,
    ),
    Mutant(
        "a lost link keeps its leases",
        "F29, P7",
        _LINK,
        "return [LinkAction.DISCONNECT, LinkAction.END_LEASES]",
        "return [LinkAction.DISCONNECT]",
        BY_SEED,
    ),
    # -- pool machine ------------------------------------------------------------------------------
    Mutant(
        "leases end when a worker is killed, not when it is dead",
        "P1, fencing",
        _ROSTER,
        "        known.move(_E.KILL)\n        return [KillWorker(known.id)]\n",
        "        known.move(_E.KILL)\n"
        "        end = WorkerLoss(known.id, known.pid, None, charged=False)\n"
        "        ends = self._end_leases(known, end, 0)\n"
        "        known.leases.clear()\n"
        "        return [KillWorker(known.id), *ends]\n",
        BY_SEED,
    ),
    Mutant(
        "a report of another worker is accepted",
        "F21",
        _MACHINE,
        "        if lease is not None and lease.worker == worker:\n",
        "        if lease is not None:\n",
        BY_SEED,
    ),
    Mutant(
        "whoever stands in line is blamed",
        "P9",
        _MACHINE,
        "charged=lease.number == current",
        "charged=lease.number >= current > 0",
        BY_SEED,
    ),
    Mutant(
        "nobody is blamed",
        "P9",
        _MACHINE,
        "charged=lease.number == current",
        "charged=False",
        BY_SEED,
    ),
    Mutant(
        "a body is blamed for a worker that we have ended",
        "P9",
        _MACHINE,
        "self._end_leases(known, end, 0 if by_us else current)",
        "self._end_leases(known, end, current)",
        BY_SEED,
    ),
    Mutant(
        "the leases of a dead worker are forgotten",
        "F1, P7",
        _MACHINE,
        "        actions = self._end_leases(known, end, 0 if by_us else current)\n",
        "        actions: list[Action] = []\n",
        BY_SEED,
    ),
    Mutant(
        "a lost worker is not replaced",
        "F1, P7",
        _MACHINE,
        "        return [*actions, *self._replace(now)]\n\n    def zygote_ended",
        "        return actions\n\n    def zygote_ended",
        BY_SEED,
    ),
    Mutant(
        "one that never says Hello is waited for",
        "P7",
        _ROSTER,
        "now + START_S",
        "math.inf",
        BY_SEED,
    ),
    Mutant(
        "what was recalled in line is sent all the same",
        "P1",
        _MACHINE,
        "        if self._line.remove(key):\n",
        "        if key in self._line:\n",
        BY_SEED,
    ),
    Mutant(
        "what ran out of memory runs beside others again",
        "F4",
        _SCHEDULER,
        "        if invocation.demand == ALONE:\n",
        "        if invocation.demand == ALONE and not self._workers:\n",
        BY_SEED,
    ),
    Mutant(
        "what runs alone is joined by others",
        "F4",
        _SCHEDULER,
        "        if self._free_cpus() >= 1:\n            return workers\n",
        "        if self._free_cpus() != 0:\n            return workers\n",
        BY_SEED,
    ),
    Mutant(
        "every SIGKILL is taken for the kernel's",
        "F4, P8",
        "executor/oom.py",
        "        if self._kills() <= self._explained:\n            return False\n",
        "",
        BY_SEED,
    ),
    Mutant(
        "the attempts of a node with state go anywhere",
        "rule 37",
        _SCHEDULER,
        "        if invocation.pinned:\n            self._pins[",
        "        if False:\n            self._pins[",
        BY_SEED,
    ),
    Mutant(
        "the wrong worker is ended",
        "P3",
        _MACHINE,
        "actions += self.terminate(lease.worker, now)",
        "actions += self.terminate(max(self._workers), now)",
        BY_SEED,
    ),
    Mutant(
        "the wrong attempt is interrupted",
        "P3",
        _MACHINE,
        "Interrupt(lease.worker, lease.number)",
        "Interrupt(lease.worker, lease.number + 1)",
        BY_SEED,
    ),
    Mutant(
        "an attempt is reported before the one that takes its place is sent",
        "P7",
        _MACHINE,
        "        return [*self.ended(key, None), report]\n",
        "        return [report, *self.ended(key, None)]\n",
        BY_SEED,
    ),
    Mutant(
        "who is cancelled is never interrupted",
        "P7",
        _MACHINE,
        "    self._ladder.begin(key, lease.worker, lease.number, now)\n            lease.cancelled",
        "    pass\n            lease.cancelled",
        BY_SEED,
    ),
    # -- ladder, lease, inbox, pool ------------------------------------------------------------------
    Mutant(
        "the deadline of a cancel is lost",
        "P7",
        _LADDER,
        "            climber.look_at = math.inf\n            return Rung.TERMINATE\n",
        "            return None\n",
        BY_SEED,
    ),
    Mutant(
        "a lease wakes twice",
        "I7",
        _LEASE,
        "        if self.suspended:\n            self.suspended = False\n",
        "        if True:\n            self.suspended = False\n",
        BY_SEED,
    ),
    Mutant(
        "the end of an attempt does not end its lease",
        "P7",
        _INBOX,
        "return self._machine.ended(message.key, message.seconds, sum(map(size_bytes, outputs)))\n",
        "return []\n",
        BY_SEED,
    ),
    Mutant(
        "what is said to an attempt in line is forgotten",
        "P7",
        _POOL,
        "        for verb in self._held.pop(invocation.key, ()):\n            verb()\n",
        "",
        BY_SEED,
    ),
    Mutant(
        "what was held for an attempt in line is kept for ever",
        "P6",
        _POOL,
        "                case ReportCancelled(key):\n                    self._held.pop(key, None)\n",
        "                case ReportCancelled(key):\n",
        BY_SEED,
    ),
    Mutant(
        "a stranger is greeted",
        "S3",
        "executor/peer.py",
        "            and compare_digest(hello.token, self.token)\n",
        "",
        BY_SEED,
    ),
    Mutant(
        "a completion overtakes the chunks before it",
        "P1",
        "executor/reporter.py",
        "        self._write_of(key)\n"
        "        attached = [self._session.attach(value) for value in outputs]\n",
        "        attached = [self._session.attach(value) for value in outputs]\n",
        BY_SEED,
    ),
    # -- revocation --------------------------------------------------------------------------------
    Mutant(
        "what a worker gives back is forgotten",
        "P7",
        _REVOCATION,
        "return [lease for lease in _still_held(worker, asked) if lease.key in given]",
        "return []",
        BY_SEED,
    ),
    Mutant(
        "an answer takes back what was taken back before",
        "P1",
        _REVOCATION,
        "[lease for lease in asked.leases if worker.leases.get(lease.key) is lease]",
        "asked.leases",
        BY_SEED,
    ),
    Mutant(
        "a worker gets work before it has answered",
        "P1",
        "executor/worker_states.py",
        "            and self.revocation is None\n",
        "",
        BY_SEED,
    ),
)
