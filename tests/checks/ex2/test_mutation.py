from tests.checks.mutation import assert_refused


def test_what_differs_is_refused():
    assert_refused("ex2")
