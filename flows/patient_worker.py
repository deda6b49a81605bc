"""``python -m flows.patient_worker worker start ...``: Prefect's command line, with a worker that waits.

Prefect's own process worker hears of no cancellation any more when its server was away for 20 seconds, and
gives up when it asked twelve times in vain; its unit then ends the backups that it carries out. This one
asks again.
"""

from __future__ import annotations

import warnings
from typing import Any

from prefect.cli import app
from prefect.workers.process import ProcessWorker

from flows.patience import make_observers_patient, patient

ASKED = ("get_and_submit_flow_runs", "_sync_and_initialize")
"""What Prefect's worker does again and again."""

# To define a worker is to register it; from here on it is ours that ``--type process`` means.
warnings.filterwarnings("ignore", message="Type 'PatientWorker'", category=UserWarning)


class PatientWorker(ProcessWorker):
    """Carries out runs as processes, and outlives its server."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        for name in ASKED:
            setattr(self, name, patient(getattr(self, name)))


if __name__ == "__main__":
    make_observers_patient()
    app()
