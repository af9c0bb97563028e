import pytest

from tfopt.errors import MissingPackageError
from tfopt.optional import require


def test_a_missing_package_is_named_with_the_extra_that_installs_it():
    expected = r"no module not_there .*for a test.*pip install 'tfopt\[some\]'"
    with pytest.raises(MissingPackageError, match=expected):
        require("not_there", extra="some", purpose="a test")
    assert require("json", extra="some", purpose="a test").dumps([1]) == "[1]"
