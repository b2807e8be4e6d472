"""The order of the tests: the longest first, on one worker, while the others share the rest."""

import pytest


def _minutes(item: pytest.Item) -> float:
    marker = item.get_closest_marker("slow")
    return marker.kwargs.get("minutes", 1) if marker else 0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=_minutes, reverse=True)
