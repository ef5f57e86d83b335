"""The labelled children of a metric, cached and bounded."""

from collections.abc import Hashable
from typing import Final, TypeVar

from prometheus_client.metrics import MetricWrapperBase

Metric = TypeVar("Metric", bound=MetricWrapperBase)
Label = TypeVar("Label", bound=Hashable)

#: More values of one label than this are counted together as ``other``: definitions come and go
#: with reloads and some reasons hold text, but a series is kept for ever.
MAX_LABEL_VALUES: Final = 1000


class Children(dict[Label, Metric]):
    """The labelled children of a metric, made on first use; much faster than ``labels()``."""

    def __init__(self, metric: Metric) -> None:
        super().__init__()
        self._metric = metric

    def __missing__(self, label: Label) -> Metric:
        values = label if isinstance(label, tuple) else (label,)
        if len(self) >= MAX_LABEL_VALUES:
            return self._metric.labels(*("other" for _ in values))
        child = self[label] = self._metric.labels(*values)
        return child
