"""The witness handlers under names that only this replica has: `witness-one`, `witness-sync-one` on replica one."""

from __future__ import annotations

import os

from witness import Work, witness, witness_sync

from scheduledjobs.handlers import handler

WHO = os.environ["SCHEDULEDJOBS_HOSTNAME"]

handler(f"witness-{WHO}", payload=Work)(witness)
handler(f"witness-sync-{WHO}", payload=Work)(witness_sync)
