"""Defects to plant in the pool and the protocol: a text that stands once in a file, and its stead."""

from __future__ import annotations

from typing import NamedTuple


class Mutant(NamedTuple):
    name: str
    file: str
    old: str
    new: str


_DELIVERY = "protocol/delivery.py"
_RESUMABLE = "protocol/resumable.py"
_LINK = "protocol/link.py"
_FRAMING = "protocol/framing.py"
_MACHINE = "executor/pool_machine.py"
_LADDER = "executor/ladder.py"
_LEASE = "executor/lease.py"
_INBOX = "executor/inbox.py"
_POOL = "executor/pool.py"

MUTANTS = (
    # -- delivery, framing -------------------------------------------------------------------------
    Mutant(
        "an acknowledgement frees nothing",
        _DELIVERY,
        "            self._free(acknowledged)\n",
        "            pass\n",
    ),
    Mutant(
        "an acknowledgement frees one too many",
        _DELIVERY,
        "range(min(acknowledged - self.acknowledged, len(outbox)))",
        "range(min(acknowledged - self.acknowledged + 1, len(outbox)))",
    ),
    Mutant(
        "a duplicate is taken",
        _DELIVERY,
        "        if number <= self.received:\n",
        "        if False:\n",
    ),
    Mutant(
        "an envelope of another epoch is taken",
        _DELIVERY,
        "        if epoch != self.epoch:\n",
        "        if False:\n",
    ),
    Mutant(
        "a gap is not seen",
        _DELIVERY,
        "        if number > self.received + (not bare):\n",
        "        if False:\n",
    ),
    Mutant(
        "envelopes acknowledge nothing",
        _FRAMING,
        "_UINT64, delivery.received, _ARRAY32",
        "_UINT64, 0, _ARRAY32",
    ),
    Mutant(
        "nothing is sent again",
        _RESUMABLE,
        "        self._output += self.session.delivery.unacknowledged()\n",
        "",
    ),
    Mutant(
        "a beat does not show what was lost at the end",
        _RESUMABLE,
        "self.session.bare(self.session.delivery.sent)",
        "self.session.bare(self.session.delivery.acknowledged)",
    ),
    Mutant(
        "a greeting claims that all was received",
        _RESUMABLE,
        "return self.session.bare(self.session.delivery.acknowledged)",
        "return self.session.bare(self.session.delivery.sent)",
    ),
    # -- link --------------------------------------------------------------------------------------
    Mutant(
        "a peer that is silent is never lost",
        _LINK,
        "        silent = self._heard_at + times.lost_after_s, _E.SILENT\n",
        "        silent = math.inf, _E.SILENT\n",
    ),
    Mutant(
        "a broken connection is not made again",
        _LINK,
        "now + self._back_off_s() if self._connects else math.inf",
        "math.inf",
    ),
    Mutant(
        "nobody beats",
        _LINK,
        "            actions.append(LinkAction.BEAT)\n",
        "",
    ),
    Mutant(
        "a lost link keeps its leases",
        _LINK,
        "return [LinkAction.DISCONNECT, LinkAction.END_LEASES]",
        "return [LinkAction.DISCONNECT]",
    ),
    # -- pool machine ------------------------------------------------------------------------------
    Mutant(
        "leases end when a worker is killed, not when it is dead",
        _MACHINE,
        "        known.move(_E.KILL)\n        return [KillWorker(known.id)]\n",
        "        known.move(_E.KILL)\n"
        "        end = WorkerLoss(known.id, known.pid, None, charged=False)\n"
        "        ends = self._end_leases(known, end, 0)\n"
        "        known.leases.clear()\n"
        "        return [KillWorker(known.id), *ends]\n",
    ),
    Mutant(
        "a report of another worker is accepted",
        _MACHINE,
        "        if lease is not None and lease.worker == worker:\n",
        "        if lease is not None:\n",
    ),
    Mutant(
        "whoever stands in line is blamed",
        _MACHINE,
        "charged=lease.number == current",
        "charged=lease.number >= current > 0",
    ),
    Mutant(
        "nobody is blamed",
        _MACHINE,
        "charged=lease.number == current",
        "charged=False",
    ),
    Mutant(
        "a body is blamed for a worker that we have ended",
        _MACHINE,
        "self._end_leases(known, end, 0 if by_us else current)",
        "self._end_leases(known, end, current)",
    ),
    Mutant(
        "the leases of a dead worker are forgotten",
        _MACHINE,
        "        actions = self._end_leases(known, end, 0 if by_us else current)\n",
        "        actions: list[Action] = []\n",
    ),
    Mutant(
        "a lost worker is not replaced",
        _MACHINE,
        "        return [*actions, *self._replace(now)]\n\n    def zygote_ended",
        "        return actions\n\n    def zygote_ended",
    ),
    Mutant(
        "one that never says Hello is waited for",
        _MACHINE,
        "now + START_S",
        "math.inf",
    ),
    Mutant(
        "what was recalled in line is sent all the same",
        _MACHINE,
        "        if self._line.remove(key):\n",
        "        if key in self._line:\n",
    ),
    Mutant(
        "the attempts of a node with state go anywhere",
        _MACHINE,
        "        if invocation.pinned:\n            self._pins[",
        "        if False:\n            self._pins[",
    ),
    Mutant(
        "the wrong worker is ended",
        _MACHINE,
        "actions += self.terminate(lease.worker, now)",
        "actions += self.terminate(max(self._workers), now)",
    ),
    Mutant(
        "the wrong attempt is interrupted",
        _MACHINE,
        "Interrupt(lease.worker, lease.number)",
        "Interrupt(lease.worker, lease.number + 1)",
    ),
    Mutant(
        "an attempt is reported before the one that takes its place is sent",
        _MACHINE,
        "        return [*self.ended(key, None), report]\n",
        "        return [report, *self.ended(key, None)]\n",
    ),
    Mutant(
        "who is cancelled is never interrupted",
        _MACHINE,
        "    self._ladder.begin(key, lease.worker, lease.number, now)\n            lease.cancelled",
        "    pass\n            lease.cancelled",
    ),
    # -- ladder, lease, inbox, pool ------------------------------------------------------------------
    Mutant(
        "the deadline of a cancel is lost",
        _LADDER,
        "            climber.look_at = math.inf\n            return Rung.TERMINATE\n",
        "            return None\n",
    ),
    Mutant(
        "a lease wakes twice",
        _LEASE,
        "        if self.suspended:\n            self.suspended = False\n",
        "        if True:\n            self.suspended = False\n",
    ),
    Mutant(
        "the end of an attempt does not end its lease",
        _INBOX,
        "message.missing, state)\n        return self._machine.ended(message.key, message.seconds)\n",
        "message.missing, state)\n        return []\n",
    ),
    Mutant(
        "what is said to an attempt in line is forgotten",
        _POOL,
        "        for verb in self._held.pop(invocation.key, ()):\n            verb()\n",
        "",
    ),
    Mutant(
        "what was held for an attempt in line is kept for ever",
        _POOL,
        "                case ReportCancelled(key):\n                    self._held.pop(key, None)\n",
        "                case ReportCancelled(key):\n",
    ),
    Mutant(
        "a stranger is greeted",
        "executor/peer.py",
        "            and compare_digest(hello.token, self.token)\n",
        "",
    ),
    Mutant(
        "a completion overtakes the chunks before it",
        "executor/reporter.py",
        "        self._write_of(key)\n"
        "        attached = [self._session.attach(value) for value in outputs]\n",
        "        attached = [self._session.attach(value) for value in outputs]\n",
    ),
)
