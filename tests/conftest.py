"""The order of the tests: what takes longest begins first, so that no process ends with it alone."""


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)
