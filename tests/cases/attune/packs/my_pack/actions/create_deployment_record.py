"""A record of a deployment; where its health can be asked is part of it."""

import os

from records import keep, refuse_if_told


def run(app_name: str, version: str, environment: str) -> dict[str, str]:
    refuse_if_told("create", app_name)
    id = f"{app_name}-{version}"
    keep(id, created={"app_name": app_name, "version": version, "environment": environment})
    return {"id": id, "health_url": f"{os.environ['HEALTH_URL']}/{app_name}"}
