"""What a test of a wrong answer asserts: these rows and no others, and the words that name it."""

from modarch_utils.checks.core import Report


def assert_names(report: Report, rows: set[str], words: str) -> None:
    """The wrong rows are `rows`, one of their messages holds `words`, and each row says why."""
    wrong = [f for f in report.findings if f.passed is False]
    assert not report.passed
    assert {f.what for f in wrong} == rows, str(report)
    assert any(words in f"{f.came} {f.likely}" for f in wrong), str(report)
    assert all(f.expected and f.came and f.likely for f in wrong), str(report)


def assert_distinct(answers: list[tuple]) -> None:
    """Answers with the same words are the same mistake, written in another way: few at most."""
    words = [answer[-1] for answer in answers]
    assert len(set(words)) >= 0.8 * len(words)
