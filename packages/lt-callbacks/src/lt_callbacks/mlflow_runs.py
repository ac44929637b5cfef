"""Experiments and runs of MLflow. Needs mlflow."""

from collections.abc import Mapping, Sequence
from typing import Any

from mlflow.entities import Metric, Param
from mlflow.tracking import MlflowClient, is_tracking_uri_set
from mlflow.tracking.context.registry import resolve_tags

__all__ = ["MlflowClient", "experiment", "is_set_up", "new_run", "send"]

AT_ONCE = 100
"""MLflow takes so many parameters in one request, and of metrics ten times as many."""

LONGEST_VALUE = 6000
"""Characters of the value of a parameter, more of which MLflow refuses."""

Point = tuple[str, float, int, int]
"""Name, value, milliseconds since 1970, step."""


def is_set_up() -> bool:
    """Return whether somebody told MLflow which store to use."""
    return bool(is_tracking_uri_set())


def experiment(client: Any, name: str, artifact_location: str | None) -> str:
    """Return the id of an experiment, which is made if there is none."""
    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    return str(client.create_experiment(name, artifact_location=artifact_location))


def new_run(client: Any, experiment_id: str, name: str | None, tags: Mapping[str, Any]) -> str:
    """Make a run and return its id."""
    run = client.create_run(experiment_id, tags=resolve_tags(dict(tags)), run_name=name)
    return str(run.info.run_id)


def send(
    client: Any,
    run_id: Any,
    *,
    params: Mapping[str, str],
    points: Sequence[Point],
    words: Mapping[str, Any],
) -> None:
    """Send parameters and metrics, in requests as large as MLflow takes them."""
    listed = [Param(name, value[:LONGEST_VALUE]) for name, value in params.items()]
    metrics = [Metric(*point) for point in points]
    for start in range(0, len(listed), AT_ONCE):
        client.log_batch(run_id, params=listed[start : start + AT_ONCE], **words)
    for start in range(0, len(metrics), 10 * AT_ONCE):
        client.log_batch(run_id, metrics=metrics[start : start + 10 * AT_ONCE], **words)
