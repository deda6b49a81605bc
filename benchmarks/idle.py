"""A flow that does nothing, so that what is left to measure is the scheduling."""

from __future__ import annotations

from prefect import flow


@flow(name="idle", flow_run_name="idle", retries=0, persist_result=False)
def idle() -> None:
    """Nothing."""
