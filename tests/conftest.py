"""The order of the tests: two workers get half of the list each, so the longest test is first in the first half, the
other long ones in the second. Who is done takes from the other's end.
"""

import pytest


def _minutes(item: pytest.Item) -> float:
    marker = item.get_closest_marker("slow")
    return marker.kwargs.get("minutes", 1) if marker else 0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    slow = sorted((item for item in items if _minutes(item)), key=_minutes, reverse=True)
    rest = [item for item in items if not _minutes(item)]
    half = max(0, len(items) // 2 - 1)
    items[:] = [*slow[:1], *rest[:half], *slow[1:], *rest[half:]]
