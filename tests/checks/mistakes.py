"""What a test of a wrong answer asserts: these rows and no others, and the words that name it."""

from modarch_utils.checks.core import Report


def assert_names(report: Report, rows: set[str], words: str) -> None:
    """The wrong rows are `rows`, one of their messages holds `words`, and each row says why."""
    wrong = [f for f in report.findings if f.passed is False]
    assert not report.passed
    assert {f.what for f in wrong} == rows, str(report)
    assert any(words in f"{f.came} {f.likely}" for f in wrong), str(report)
    assert all(f.expected and f.came and f.likely for f in wrong), str(report)
