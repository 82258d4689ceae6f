"""One suite of a shipped problem, and its cases by their names."""

from __future__ import annotations

import pytest
from helpers.suites import by_name, make_suite

from tuner.records import CaseResult
from tuner.verification.cases import Case
from tuner.verification.suite import Suite


@pytest.fixture(scope="package")
def suite() -> Suite:
    return make_suite("gn_mean")


@pytest.fixture(scope="package")
def cases(suite: Suite) -> dict[str, Case | CaseResult]:
    return by_name(suite)
