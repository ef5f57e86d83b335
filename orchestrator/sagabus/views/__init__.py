"""Instances as JSON documents: what the API answers and the command line prints.

Beside our own words they carry the columns that workflow engines before us used:
``current_tasks``, ``completed_tasks``, ``failed_tasks`` (names of stages), ``variables``,
``error_message``, per task ``task_index``, ``retry_count``, ``max_retries``, and for a failed saga
``error.reason`` and ``error.compensate_from_idx``.
"""
