"""Settings of the fuzz tests: LATENTLAB_FUZZ is the number of cases a reader (default 25).

A configuration takes a hundred times as long as a broken file, so its tests run a twentieth of it.
Without it the cases are the same at each run, so that the suite never fails by chance; with it they
are new each time. The number of cases that ran is printed at the end.
"""

from __future__ import annotations

import functools
import os

import pytest
from hypothesis import HealthCheck, settings

ASKED = os.environ.get("LATENTLAB_FUZZ")
settings.register_profile(
    "latentlab",
    max_examples=max(25, int(ASKED or 25) // 20),
    derandomize=not ASKED,
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("latentlab")


def counted(inner, properties):
    properties.append(["cases", 0])

    @functools.wraps(inner)
    def wrapper(*args, **kwargs):
        properties[-1][1] += 1
        return inner(*args, **kwargs)

    return wrapper


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    handle = getattr(getattr(item, "obj", None), "hypothesis", None)
    if handle is None:
        return (yield)
    inner, handle.inner_test = handle.inner_test, counted(handle.inner_test, item.user_properties)
    try:
        return (yield)
    finally:
        handle.inner_test = inner


def pytest_terminal_summary(terminalreporter):
    total = sum(
        value
        for reports in terminalreporter.stats.values()
        for report in reports
        for name, value in getattr(report, "user_properties", ())
        if name == "cases" and report.when == "call"
    )
    if total:
        terminalreporter.write_line(f"fuzz: {total:,} cases")
